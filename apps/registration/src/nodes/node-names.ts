/** A node name as Kubernetes accepts it (RFC 1123 subdomain), lower-cased. Undefined when it is none. */
export function parseNodeName(text: string): string | undefined {
  const name = text.toLowerCase();
  const valid = name.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(name);
  return valid ? name : undefined;
}
