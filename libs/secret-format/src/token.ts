import { KeelsonError } from "@keelson/service";

/** A kubeadm-style bootstrap token: six and sixteen characters of [a-z0-9]. */
export interface BootstrapTokenId {
  id: string;
  secret: string;
}

/** A parsed join token. `caHash` is there only in the full form, and then 64 hex digits or empty. */
export interface Token {
  caHash: string | undefined;
  username: string;
  /** Empty when `bootstrap` is set. */
  password: string;
  bootstrap: BootstrapTokenId | undefined;
}

const prefix = "K10";
const bootstrapPattern = /^([a-z0-9]{6})\.([a-z0-9]{16})$/;

/**
 * Parses `K10<hash>::<user>:<password>`, `K10<hash>::<id>.<secret>`, a bare bootstrap token or a bare password.
 * Error texts are K3s's; they never carry the token. Source: K3s clientaccess.
 */
export function parseToken(text: string): Token {
  const trimmed = text.trim();
  if (trimmed === "") throw invalidToken("token is empty");
  if (!trimmed.startsWith(prefix)) {
    const bootstrap = parseBootstrapToken(trimmed);
    return { caHash: undefined, username: "", password: bootstrap === undefined ? trimmed : "", bootstrap };
  }
  let rest = trimmed.slice(prefix.length);
  let caHash: string | undefined;
  const separator = rest.indexOf("::");
  if (separator >= 0) {
    caHash = rest.slice(0, separator);
    rest = rest.slice(separator + 2);
    if (caHash.length !== 0 && caHash.length !== 64) throw invalidToken("invalid token CA hash length");
  }
  const bootstrap = parseBootstrapToken(rest);
  if (bootstrap !== undefined) return { caHash, username: "", password: "", bootstrap };
  const colon = rest.indexOf(":");
  const password = colon < 0 ? "" : rest.slice(colon + 1);
  if (password === "") throw invalidToken("invalid token format");
  return { caHash, username: rest.slice(0, colon), password, bootstrap: undefined };
}

/** `id.secret`, or undefined when the text is not a bootstrap token. */
export function parseBootstrapToken(text: string): BootstrapTokenId | undefined {
  const match = bootstrapPattern.exec(text);
  return match === null ? undefined : { id: match[1]!, secret: match[2]! };
}

/** The full form, as it stands in `server/token` (without the newline). */
export function formatToken(caHash: string, username: string, password: string): string {
  return `${prefix}${caHash}::${username}:${password}`;
}

/** The full form of a bootstrap token. */
export function formatBootstrapToken(caHash: string, token: BootstrapTokenId): string {
  return `${prefix}${caHash}::${token.id}.${token.secret}`;
}

/** What a token is reduced to before it is stored or hashed: the password part alone. */
export function normalizeToken(text: string): string {
  const token = parseToken(text);
  return token.bootstrap === undefined ? token.password : `${token.bootstrap.id}.${token.bootstrap.secret}`;
}

function invalidToken(message: string): KeelsonError {
  return new KeelsonError("token/invalid", message, {
    hint: "use the line in server/token of a server, or only its part after the last colon",
  });
}
