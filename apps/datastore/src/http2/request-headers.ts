import type { HpackDecoder } from "./hpack-decoder.ts";

/** The headers of a request that a server looks at. */
export interface RequestHeaders {
  path: string;
  authority: string;
  contentType: string;
  /** Headers that a request may carry for etcd itself, if any of them is there. */
  metadata: Record<string, string> | undefined;
}

/** Authentication token, "only with a leader", client version, and kube-apiserver's mark of its watch cache. */
const metadataNames = new Set(["token", "hasleader", "client-api-version", "source"]);

/** Decodes a header block; what a server does not look at goes no further than the decoder's table. */
export function readRequestHeaders(hpack: HpackDecoder, block: Buffer): RequestHeaders {
  const headers: RequestHeaders = { path: "", authority: "", contentType: "", metadata: undefined };
  hpack.decode(block, (name, value) => {
    if (name === ":path") headers.path = value;
    else if (name === ":authority") headers.authority = value;
    else if (name === "content-type") headers.contentType = value;
    else if (metadataNames.has(name)) headers.metadata = { ...headers.metadata, [name]: value };
  });
  return headers;
}
