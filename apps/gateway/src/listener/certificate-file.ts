import { createHash, X509Certificate } from "node:crypto";

/** A listener certificate as it is kept between starts. */
export interface StoredListener {
  chainPem: string;
  keyPem: string;
}

interface SecretLike {
  metadata?: { annotations?: Record<string, string> };
  data?: Record<string, string>;
}

/**
 * The file `tls/dynamic-cert.json` of K3s: Secret `kube-system/k3s-serving` as JSON, each name of the certificate as an
 * annotation. Source: rancher/dynamiclistener.
 */
export function formatListenerFile({ chainPem, keyPem }: StoredListener, names: readonly string[]): string {
  const annotations: Record<string, string> = {};
  for (const name of [...names].sort()) annotations[`listener.cattle.io/cn-${annotationKey(name)}`] = name;
  const fingerprint = new X509Certificate(chainPem).fingerprint.replaceAll(":", "");
  annotations["listener.cattle.io/fingerprint"] = `SHA1=${fingerprint}`;
  return JSON.stringify({
    kind: "Secret",
    apiVersion: "v1",
    metadata: { name: "k3s-serving", namespace: "kube-system", annotations },
    data: { "tls.crt": base64(chainPem), "tls.key": base64(keyPem) },
    type: "kubernetes.io/tls",
  });
}

/** Reads such a file, ours or one that stock K3s wrote; undefined when it holds no certificate and key. */
export function parseListenerFile(text: string): (StoredListener & { names: string[] }) | undefined {
  let secret: SecretLike;
  try {
    secret = JSON.parse(text) as SecretLike;
  } catch {
    return undefined;
  }
  const certificate = secret.data?.["tls.crt"];
  const key = secret.data?.["tls.key"];
  if (typeof certificate !== "string" || typeof key !== "string") return undefined;
  const names = Object.entries(secret.metadata?.annotations ?? {})
    .filter(([annotation]) => annotation.startsWith("listener.cattle.io/cn-"))
    .map(([, name]) => name);
  return { chainPem: unbase64(certificate), keyPem: unbase64(key), names };
}

/** Annotation keys are at most 63 characters of a small alphabet; other names are cut and told apart by a hash. */
function annotationKey(name: string): string {
  if (name.length < 64 && !/[:*]/.test(name)) return name;
  const digest = createHash("sha256").update(name).digest("hex").slice(0, 6);
  return `${name.replaceAll(/[:*]/g, "_").slice(0, 56)}-${digest}`;
}

function base64(text: string): string {
  return Buffer.from(text, "utf8").toString("base64");
}

function unbase64(text: string): string {
  return Buffer.from(text, "base64").toString("utf8");
}
