import { createCipheriv, createDecipheriv, createHash, pbkdf2Sync, randomBytes } from "node:crypto";
import { KeelsonError } from "@keelson/service";
import { normalizeToken } from "./token.ts";

/** The pieces of the bootstrap data and where each lives below `<dataDir>/server`. */
export const bootstrapPieces = {
  ClientCA: "tls/client-ca.crt",
  ClientCAKey: "tls/client-ca.key",
  ETCDPeerCA: "tls/etcd/peer-ca.crt",
  ETCDPeerCAKey: "tls/etcd/peer-ca.key",
  ETCDServerCA: "tls/etcd/server-ca.crt",
  ETCDServerCAKey: "tls/etcd/server-ca.key",
  EncryptionConfig: "cred/encryption-config.json",
  EncryptionHash: "cred/encryption-state.json",
  IPSECKey: "cred/ipsec.psk",
  PasswdFile: "cred/passwd",
  RequestHeaderCA: "tls/request-header-ca.crt",
  RequestHeaderCAKey: "tls/request-header-ca.key",
  ServerCA: "tls/server-ca.crt",
  ServerCAKey: "tls/server-ca.key",
  ServiceKey: "tls/service.key",
} as const;

export type BootstrapPieceName = keyof typeof bootstrapPieces;

/** One file of the bootstrap data. `modifiedMs` is unknown in data written by v1.21. */
export interface BootstrapPiece {
  content: Buffer;
  modifiedMs: number | undefined;
}

export type BootstrapData = Partial<Record<BootstrapPieceName, BootstrapPiece>>;

export const bootstrapKeyPrefix = "/bootstrap/";

/** `/bootstrap/<h>`: the key of the envelope, from the password part of the token. */
export function bootstrapKey(token: string): string {
  const password = token === "" ? "" : normalizeToken(token);
  return bootstrapKeyPrefix + createHash("sha256").update(password).digest("hex").slice(0, 12);
}

/** Reads bootstrap JSON in both value forms; unknown names are left out. Throws `bootstrap/invalid`. */
export function parseBootstrapData(json: string): BootstrapData {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch (cause) {
    throw new KeelsonError("bootstrap/invalid", "bootstrap data is not JSON", { cause });
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new KeelsonError("bootstrap/invalid", "bootstrap data is not a JSON object");
  }
  const data: BootstrapData = {};
  for (const [name, value] of Object.entries(parsed)) {
    if (Object.hasOwn(bootstrapPieces, name)) data[name as BootstrapPieceName] = parsePiece(name, value);
  }
  return data;
}

function parsePiece(name: string, value: unknown): BootstrapPiece {
  if (typeof value === "string") return { content: Buffer.from(value, "base64"), modifiedMs: undefined };
  if (typeof value === "object" && value !== null && "Content" in value && typeof value.Content === "string") {
    const stamp = "Timestamp" in value ? Date.parse(String(value.Timestamp)) : Number.NaN;
    return { content: Buffer.from(value.Content, "base64"), modifiedMs: Number.isNaN(stamp) ? undefined : stamp };
  }
  throw new KeelsonError("bootstrap/invalid", `bootstrap piece ${name} is neither a string nor an object with Content`);
}

/**
 * Writes bootstrap JSON in the current form, or in v1.21's (`legacy`): names sorted, no blanks, one newline at the end,
 * as Go's encoder does.
 */
export function formatBootstrapData(data: BootstrapData, options: { legacy?: boolean } = {}): string {
  const names = (Object.keys(data) as BootstrapPieceName[]).sort();
  const entries = names.map((name) => {
    const { content, modifiedMs } = data[name]!;
    const encoded = content.toString("base64");
    return [name, options.legacy ? encoded : { Timestamp: new Date(modifiedMs ?? 0).toISOString(), Content: encoded }];
  });
  return `${JSON.stringify(Object.fromEntries(entries))}\n`;
}

/**
 * Encrypts bootstrap JSON: `<salt>:<base64(nonce, ciphertext, tag)>`, AES-256-GCM under PBKDF2-HMAC-SHA1 of the token's
 * password part. The salt is used as text. Salt and nonce are drawn unless a test gives them. Source: K3s bootstrap store.
 */
export function sealBootstrap(token: string, json: string, random: { salt?: string; nonce?: Buffer } = {}): string {
  const salt = random.salt ?? randomBytes(8).toString("hex");
  const nonce = random.nonce ?? randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", envelopeKey(token, salt), nonce);
  const sealed = Buffer.concat([nonce, cipher.update(json, "utf8"), cipher.final(), cipher.getAuthTag()]);
  return `${salt}:${sealed.toString("base64")}`;
}

/** Decrypts an envelope. Throws `bootstrap/wrong-token` when the token does not fit, `bootstrap/invalid` on other input. */
export function openBootstrap(token: string, envelope: string): string {
  const colon = envelope.indexOf(":");
  const sealed = Buffer.from(envelope.slice(colon + 1), "base64");
  if (colon <= 0 || sealed.length < 12 + 16) {
    throw new KeelsonError("bootstrap/invalid", "bootstrap envelope is not of the form <salt>:<base64>");
  }
  const decipher = createDecipheriv(
    "aes-256-gcm",
    envelopeKey(token, envelope.slice(0, colon)),
    sealed.subarray(0, 12),
  );
  decipher.setAuthTag(sealed.subarray(-16));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]).toString("utf8");
  } catch (cause) {
    throw new KeelsonError("bootstrap/wrong-token", "bootstrap data is encrypted with a different token", {
      hint: "give the token that the cluster was started with",
      cause,
    });
  }
}

function envelopeKey(token: string, salt: string): Buffer {
  return pbkdf2Sync(token === "" ? "" : normalizeToken(token), salt, 4096, 32, "sha1");
}
