import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { KeelsonError } from "@keelson/service";

/** A stored node-password hash, `$1:<salt>:<logN>:<r>:<p>:<key>`. */
export interface NodePasswordHash {
  salt: Buffer;
  logN: number;
  r: number;
  p: number;
  key: Buffer;
}

const current = { logN: 15, r: 8, p: 1, saltLength: 8, keyLength: 64 } as const;
const provisionalLogN = 10;
/** Costlier parameters in a stored hash are refused: a tampered Secret must not exhaust the server. */
const limits = { logN: 20, r: 32, p: 16, keyLength: 256, memoryBytes: 256 * 1024 * 1024 };

/**
 * Hashes a node password (about 0.1 s of one core, off the event loop). The salt is drawn unless a test gives it.
 * `provisional` costs a thirtieth: any reader verifies it, but it is meant to be replaced soon.
 */
export async function hashNodePassword(
  password: string,
  { salt = randomBytes(current.saltLength), provisional = false }: { salt?: Buffer; provisional?: boolean } = {},
): Promise<string> {
  const { r, p, keyLength } = current;
  const logN = provisional ? provisionalLogN : current.logN;
  return formatNodePasswordHash({ salt, logN, r, p, key: await derive(password, salt, logN, r, p, keyLength) });
}

/** Whether a stored hash is weaker than a new one would be. */
export function isProvisionalHash(stored: string): boolean {
  return parseNodePasswordHash(stored).logN < current.logN;
}

/** Whether a password is the one behind a stored hash. Throws `node-password/hash-invalid` on a string of another form. */
export async function verifyNodePassword(stored: string, password: string): Promise<boolean> {
  const { salt, logN, r, p, key } = parseNodePasswordHash(stored);
  return timingSafeEqual(key, await derive(password, salt, logN, r, p, key.length));
}

export function formatNodePasswordHash({ salt, logN, r, p, key }: NodePasswordHash): string {
  return `$1:${salt.toString("hex")}:${logN}:${r}:${p}:${key.toString("base64").replace(/=+$/, "")}`;
}

export function parseNodePasswordHash(stored: string): NodePasswordHash {
  const match = /^\$1:((?:[0-9a-f]{2})+):(\d{1,2}):(\d{1,3}):(\d{1,3}):([A-Za-z0-9+/]+)$/.exec(stored);
  if (match === null) throw invalidHash("is not of the form $1:<salt>:<logN>:<r>:<p>:<key>");
  const [logN, r, p] = [Number(match[2]), Number(match[3]), Number(match[4])];
  const key = Buffer.from(match[5]!, "base64");
  const memory = 128 * 2 ** logN * r;
  if (logN < 1 || logN > limits.logN || r < 1 || r > limits.r || p < 1 || p > limits.p || memory > limits.memoryBytes) {
    throw invalidHash("asks for scrypt parameters out of bounds");
  }
  if (key.length < 16 || key.length > limits.keyLength) throw invalidHash("has a key of an unlikely length");
  return { salt: Buffer.from(match[1]!, "hex"), logN, r, p, key };
}

function derive(
  password: string,
  salt: Buffer,
  logN: number,
  r: number,
  p: number,
  keyLength: number,
): Promise<Buffer> {
  const N = 2 ** logN;
  return new Promise((resolve, reject) => {
    scrypt(password, salt, keyLength, { N, r, p, maxmem: 256 * N * r }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
}

function invalidHash(what: string): KeelsonError {
  return new KeelsonError("node-password/hash-invalid", `stored node password hash ${what}`, {
    hint: "delete the Secret to let the node register again",
  });
}
