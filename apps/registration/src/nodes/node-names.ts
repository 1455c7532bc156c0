import { nodePasswordSecretName } from "@keelson/secret-format";

/** What Kubernetes lets the name of an object be. */
const maxObjectName = 253;
/** The name of the node's Secret is longer than its own. */
export const maxNodeName = maxObjectName - nodePasswordSecretName("").length;

/** A node name as Kubernetes accepts it (RFC 1123 subdomain), lower-cased. Undefined when it is none, or too long. */
export function parseNodeName(text: string): string | undefined {
  const name = text.toLowerCase();
  const valid =
    name.length <= maxNodeName && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(name);
  return valid ? name : undefined;
}
