import type { IncomingMessage } from "node:http";

/** The user on whose behalf a request goes to the Kubernetes API. */
export interface RemoteUser {
  user: string;
  groups: readonly string[];
  extra?: Readonly<Record<string, readonly string[]>>;
}

/**
 * Sent along with a bearer token over the trusted socket: should the token be worth nothing there, the request must
 * end as nobody's, not as an administrator's.
 */
export const anonymous: RemoteUser = { user: "system:anonymous", groups: ["system:unauthenticated"] };

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
 * user, then the user this gateway has verified. A bearer token goes along only when there is no verified user: the
 * upstream would otherwise have two identities to choose from.
 */
export function upstreamHeaders(
  req: IncomingMessage,
  user: RemoteUser | undefined,
  options: { upgrade?: boolean } = {},
): string[] {
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
    if (key === "authorization" && user !== undefined && user !== anonymous) continue;
    if (key === "x-forwarded-for" || key === "expect") continue;
    if (key === "content-length") sized = true;
    headers.push(name, raw[i + 1]!);
  }
  headers.push("Host", host ?? "kubernetes");
  headers.push("X-Forwarded-For", forwardedFor(req));
  if (user !== undefined) pushUser(headers, user);
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
