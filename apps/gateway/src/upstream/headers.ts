import type { IncomingMessage } from "node:http";

/** The user on whose behalf a request goes to the Kubernetes API. */
export interface RemoteUser {
  user: string;
  groups: readonly string[];
  extra?: Readonly<Record<string, readonly string[]>>;
}

/** In whose name a request is forwarded. */
export type Speaker =
  /** The verified user; no credential of the client's goes along, so that the upstream has one identity to believe. */
  | { as: "user"; user: RemoteUser }
  /**
   * Whoever the bearer token says. It is written anew in its one canonical form: the embedded API takes a request on its
   * socket in which it finds neither a user nor a token for an administrator's.
   */
  | { as: "bearer"; token: string }
  /** As the client sent it: the upstream authenticates by itself, and believes nothing without proof. */
  | { as: "sent" };

/** Meaningful on one connection only (RFC 9110, 7.6.1), so never forwarded. */
const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

/**
 * The header list for the upstream: what the client sent, without hop-by-hop fields and without anything that names a
 * user, then whom this gateway found to be speaking.
 */
export function upstreamHeaders(req: IncomingMessage, speaker: Speaker, options: { upgrade?: boolean } = {}): string[] {
  const headers: string[] = [];
  const dropped = namedByConnection(req.headers.connection);
  const raw = req.rawHeaders;
  let host: string | undefined;
  let sized = false;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!;
    const key = name.toLowerCase();
    if (key.charCodeAt(0) === 58 /* ":" */) {
      if (key === ":authority") host ??= raw[i + 1]!;
      continue;
    }
    if (key === "host") {
      host = raw[i + 1]!;
      continue;
    }
    if (hopByHop.has(key) || dropped?.has(key) || key.startsWith("x-remote-")) continue;
    if (key === "authorization" && speaker.as !== "sent") continue;
    if (key === "x-forwarded-for" || key === "expect") continue;
    if (key === "content-length") sized = true;
    headers.push(name, raw[i + 1]!);
  }
  headers.push("Host", host ?? "kubernetes");
  headers.push("X-Forwarded-For", forwardedFor(req));
  if (speaker.as === "user") pushUser(headers, speaker.user);
  if (speaker.as === "bearer") headers.push("Authorization", `Bearer ${speaker.token}`);
  if (options.upgrade) {
    headers.push("Connection", "Upgrade", "Upgrade", req.headers.upgrade ?? "");
  } else {
    headers.push("Connection", "keep-alive");
    if (!sized && mayHaveBody(req)) headers.push("Transfer-Encoding", "chunked");
  }
  return headers;
}

/** The header list for the client: what the upstream sent without hop-by-hop fields. */
export function downstreamHeaders(response: IncomingMessage): string[] {
  const headers: string[] = [];
  const dropped = namedByConnection(response.headers.connection);
  const raw = response.rawHeaders;
  for (let i = 0; i < raw.length; i += 2) {
    const key = raw[i]!.toLowerCase();
    if (hopByHop.has(key) || dropped?.has(key)) continue;
    headers.push(raw[i]!, raw[i + 1]!);
  }
  return headers;
}

/** Whether a request carries a body that has to be forwarded. */
export function mayHaveBody(req: IncomingMessage): boolean {
  if (req.httpVersionMajor === 2)
    return !(req as unknown as { stream: { endAfterHeaders: boolean } }).stream.endAfterHeaders;
  return req.headers["transfer-encoding"] !== undefined || Number(req.headers["content-length"] ?? 0) > 0;
}

function namedByConnection(value: string | undefined): Set<string> | undefined {
  if (value === undefined || /^(keep-alive|close|upgrade)$/i.test(value)) return undefined;
  return new Set(value.split(",").map((name) => name.trim().toLowerCase()));
}

/** Appends the peer to the chain the client claims; the claim is only ever an entry in an audit log. */
function forwardedFor(req: IncomingMessage): string {
  const claimed = req.headers["x-forwarded-for"];
  const peer = req.socket.remoteAddress ?? "";
  if (claimed === undefined) return peer;
  return `${Array.isArray(claimed) ? claimed.join(", ") : claimed}, ${peer}`;
}

function pushUser(headers: string[], { user, groups, extra }: RemoteUser): void {
  headers.push("X-Remote-User", headerValue(user));
  for (const group of groups) headers.push("X-Remote-Group", headerValue(group));
  for (const [key, values] of Object.entries(extra ?? {})) {
    // kube-apiserver decodes the key: percent-encoding keeps `/` and upper case apart from the header syntax.
    const name = `X-Remote-Extra-${encodeURIComponent(key)}`;
    for (const value of values) headers.push(name, headerValue(value));
  }
}

/** A name goes over the wire as UTF-8 bytes, which Node writes from a Latin-1 string. */
function headerValue(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : Buffer.from(text, "utf8").toString("latin1");
}
