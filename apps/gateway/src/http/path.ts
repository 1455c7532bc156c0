/** What a request target means to this port. */
export type Target =
  /** A path to route; `path` is as the client wrote it, without the query. */
  | { kind: "path"; path: string; query: string }
  /** A path with `//`, `.` or `..` segments: the client is sent to the clean one, as stock's router does. */
  | { kind: "redirect"; location: string }
  /** Not a target a client of this port may send. */
  | { kind: "malformed" };

const maybeUnclean = /\/\/|\/\.|%2e|%2f|\\/i;

/** Parses the request target of anything but CONNECT: origin form, or absolute form as an HTTP/1.1 server must accept. */
export function parseTarget(url: string): Target {
  const origin = url.startsWith("/") ? url : originForm(url);
  if (origin === undefined) return { kind: "malformed" };
  const mark = origin.indexOf("?");
  const path = mark < 0 ? origin : origin.slice(0, mark);
  const query = mark < 0 ? "" : origin.slice(mark + 1);
  if (path.includes("%") && !decodable(path)) return { kind: "malformed" };
  if (!maybeUnclean.test(path)) return { kind: "path", path, query };
  const decoded = decodeURIComponent(path);
  const clean = cleanPath(decoded);
  if (clean === decoded) return { kind: "path", path, query };
  return { kind: "redirect", location: encodeURI(clean) + (query === "" ? "" : `?${query}`) };
}

function originForm(url: string): string | undefined {
  if (!/^https?:\/\//i.test(url)) return undefined;
  try {
    const { pathname, search } = new URL(url);
    return pathname + search;
  } catch {
    return undefined;
  }
}

function decodable(path: string): boolean {
  try {
    return !decodeURIComponent(path).includes("\0");
  } catch {
    return false;
  }
}

/** Go's path.Clean with the trailing slash kept: what K3s's router compares a path with. */
function cleanPath(path: string): string {
  const kept: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "" || segment === ".") continue;
    if (segment === "..") kept.pop();
    else kept.push(segment);
  }
  const trailing = path.endsWith("/") && kept.length > 0 ? "/" : "";
  return `/${kept.join("/")}${trailing}`;
}
