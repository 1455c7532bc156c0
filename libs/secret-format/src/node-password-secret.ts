const suffix = ".node-password.k3s";

export const nodePasswordNamespace = "kube-system";
/** Type of the Secret since K3s 1.3x; v1.21 wrote `Opaque`. Both are read. */
export const nodePasswordSecretType = "k3s.cattle.io/node-password";

/** The fields of a core/v1 Secret that matter here. */
export interface SecretObject {
  apiVersion?: "v1";
  kind?: "Secret";
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    creationTimestamp?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    ownerReferences?: { apiVersion: string; kind: string; name: string; uid: string }[];
  };
  type?: string;
  immutable?: boolean;
  /** Values in base64. */
  data?: Record<string, string>;
}

export function nodePasswordSecretName(nodeName: string): string {
  return `${nodeName.toLowerCase()}${suffix}`;
}

/** The node of a node-password Secret, undefined for any other name. */
export function nodeOfPasswordSecret(secretName: string): string | undefined {
  return secretName.endsWith(suffix) && secretName.length > suffix.length
    ? secretName.slice(0, -suffix.length)
    : undefined;
}

/** The Secret that stores a node's password hash: immutable, unless the hash is to be replaced by a stronger one. */
export function nodePasswordSecret(nodeName: string, hash: string, immutable = true): SecretObject {
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: nodePasswordSecretName(nodeName), namespace: nodePasswordNamespace },
    ...(immutable ? { immutable } : {}),
    type: nodePasswordSecretType,
    data: { hash: Buffer.from(hash).toString("base64") },
  };
}

/** The hash string inside a Secret, undefined when it carries none. */
export function nodePasswordHashOf(secret: Pick<SecretObject, "data">): string | undefined {
  const encoded = secret.data?.hash;
  return encoded === undefined ? undefined : Buffer.from(encoded, "base64").toString("utf8");
}
