import { randomInt } from "node:crypto";
import type { SecretObject } from "./node-password-secret.ts";
import type { BootstrapTokenId } from "./token.ts";

const namePrefix = "bootstrap-token-";
export const bootstrapTokenSecretType = "bootstrap.kubernetes.io/token";
export const defaultBootstrapGroup = "system:bootstrappers:k3s:default-node-token";

export type BootstrapTokenUsage = "signing" | "authentication";

/** A bootstrap token as it is stored. Source: Kubernetes bootstrap token Secret format. */
export interface BootstrapToken extends BootstrapTokenId {
  description: string;
  /** Wall-clock milliseconds, undefined for a token that never expires. */
  expiresAtMs: number | undefined;
  usages: readonly BootstrapTokenUsage[];
  groups: readonly string[];
}

/** Draws a new `id.secret`. */
export function generateBootstrapToken(): BootstrapTokenId {
  return { id: randomText(6), secret: randomText(16) };
}

function randomText(length: number): string {
  const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join("");
}

export function bootstrapTokenSecretName(id: string): string {
  return `${namePrefix}${id}`;
}

export function bootstrapTokenSecret(token: BootstrapToken): SecretObject {
  const fields: Record<string, string> = {
    "token-id": token.id,
    "token-secret": token.secret,
    "auth-extra-groups": token.groups.join(","),
  };
  if (token.description !== "") fields.description = token.description;
  if (token.expiresAtMs !== undefined) {
    fields.expiration = new Date(token.expiresAtMs).toISOString().replace(/\.\d+Z$/, "Z");
  }
  for (const usage of token.usages) fields[`usage-bootstrap-${usage}`] = "true";
  return {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: bootstrapTokenSecretName(token.id), namespace: "kube-system" },
    type: bootstrapTokenSecretType,
    data: Object.fromEntries(
      Object.entries(fields).map(([name, value]) => [name, Buffer.from(value).toString("base64")]),
    ),
  };
}

/** Reads a bootstrap token Secret; undefined when it is not a complete one. */
export function parseBootstrapTokenSecret(secret: SecretObject): BootstrapToken | undefined {
  const field = (name: string): string => Buffer.from(secret.data?.[name] ?? "", "base64").toString("utf8");
  const id = field("token-id");
  const token = field("token-secret");
  if (secret.type !== bootstrapTokenSecretType || token === "") return undefined;
  if (secret.metadata.name !== bootstrapTokenSecretName(id)) return undefined;
  const expiration = field("expiration");
  const expiresAtMs = expiration === "" ? undefined : Date.parse(expiration);
  // A time that cannot be read must not make a token eternal.
  if (expiresAtMs !== undefined && Number.isNaN(expiresAtMs)) return undefined;
  return {
    id,
    secret: token,
    description: field("description"),
    expiresAtMs,
    usages: (["signing", "authentication"] as const).filter((usage) => field(`usage-bootstrap-${usage}`) === "true"),
    groups: field("auth-extra-groups")
      .split(",")
      .filter((group) => group !== ""),
  };
}
