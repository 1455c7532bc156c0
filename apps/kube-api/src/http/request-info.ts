/** What a request asks for, read from its method and path. Source: apiserver pkg/endpoints/request/requestinfo.go. */
export type Verb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete" | "deletecollection" | "connect";

export interface ResourceRequest {
  isResource: true;
  verb: Verb;
  group: string;
  version: string;
  resource: string;
  namespace: string | undefined;
  name: string | undefined;
  subresource: string | undefined;
  /** Whatever follows the subresource: the path behind `nodes/x/proxy/`. */
  rest: string;
  path: string;
  query: URLSearchParams;
}

export interface PathRequest {
  isResource: false;
  verb: string;
  path: string;
  query: URLSearchParams;
}

export type RequestInfo = ResourceRequest | PathRequest;

const connectSubresources = new Set(["exec", "attach", "portforward", "proxy"]);
/** Below a namespace's name these are subresources of the namespace, everything else is a resource in it. */
const namespaceSubresources = new Set(["status", "finalize"]);

/** The object that a field selector pins the request to: asking for it is asking for that object. */
export function selectedName(query: URLSearchParams): string | undefined {
  return /(?:^|,)metadata\.name=([^,]+)/.exec(query.get("fieldSelector") ?? "")?.[1];
}

/** Parses a request line; undefined when it is no URL, or has a broken percent-encoding. */
export function parseRequest(method: string, url: string): RequestInfo | undefined {
  // As text, not as a reference: "//x" is a path here, not a host.
  if (!url.startsWith("/") || !URL.canParse(`http://localhost${url}`)) return undefined;
  const parsed = new URL(`http://localhost${url}`);
  const query = parsed.searchParams;
  const path = parsed.pathname;
  let parts: string[];
  try {
    parts = path.split("/").slice(1).map(decodeURIComponent);
  } catch {
    return undefined;
  }
  if (parts.at(-1) === "") parts.pop();
  const plain: PathRequest = { isResource: false, verb: method.toLowerCase(), path, query };
  const prefixLength = parts[0] === "api" ? 2 : parts[0] === "apis" ? 3 : 0;
  if (prefixLength === 0 || parts.length <= prefixLength) return plain;
  const group = prefixLength === 2 ? "" : parts[1]!;
  const version = parts[prefixLength - 1]!;
  const tail = parts.slice(prefixLength);
  const isLegacyWatch = tail[0] === "watch" && tail.length > 1;
  if (isLegacyWatch) tail.shift();
  const target = locate(tail);
  const rest = tail.slice(target.used).join("/");
  const { resource, namespace, name, subresource } = target;
  const isWatch = isLegacyWatch || ["true", "1"].includes(query.get("watch") ?? "");
  const verb = verbOf(method, name, subresource, isWatch);
  if (verb === undefined) return plain;
  return { isResource: true, verb, group, version, resource, namespace, name, subresource, rest, path, query };
}

function locate(tail: readonly string[]) {
  const inNamespace = tail[0] === "namespaces" && tail.length > 2 && !namespaceSubresources.has(tail[2]!);
  const offset = inNamespace ? 2 : 0;
  return {
    namespace: inNamespace ? tail[1] : undefined,
    resource: tail[offset]!,
    name: tail[offset + 1],
    subresource: tail[offset + 2],
    used: offset + 3,
  };
}

function verbOf(
  method: string,
  name: string | undefined,
  subresource: string | undefined,
  isWatch: boolean,
): Verb | undefined {
  if (subresource !== undefined && connectSubresources.has(subresource)) return "connect";
  switch (method) {
    case "GET":
    case "HEAD":
      if (isWatch) return "watch";
      return name === undefined ? "list" : "get";
    case "POST":
      return "create";
    case "PUT":
      return "update";
    case "PATCH":
      return "patch";
    case "DELETE":
      return name === undefined ? "deletecollection" : "delete";
    default:
      return undefined;
  }
}
