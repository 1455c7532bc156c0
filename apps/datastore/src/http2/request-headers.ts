import type { HpackDecoder } from "./hpack-decoder.ts";

/** The headers of a request that a server looks at. */
export interface RequestHeaders {
  method: string;
  path: string;
  authority: string;
  contentType: string;
  /** Headers that a request may carry for etcd itself, if any of them is there. */
  metadata: Record<string, string> | undefined;
  /** Looked at only where the request is no gRPC. */
  authorization: string | undefined;
}

/** Authentication token, "only with a leader", client version, and kube-apiserver's mark of its watch cache. */
const metadataNames = new Set(["token", "hasleader", "client-api-version", "source"]);

/** Decodes a header block; what a server does not look at goes no further than the decoder's table. */
export function readRequestHeaders(hpack: HpackDecoder, block: Buffer): RequestHeaders {
  const headers: RequestHeaders = {
    method: "",
    path: "",
    authority: "",
    contentType: "",
    metadata: undefined,
    authorization: undefined,
  };
  hpack.decode(block, (name, value) => {
    if (name === ":path") headers.path = value;
    else if (name === ":authority") headers.authority = value;
    else if (name === "content-type") headers.contentType = value;
    else if (name === ":method") headers.method = value;
    else if (metadataNames.has(name)) headers.metadata = { ...headers.metadata, [name]: value };
    else if (name === "authorization") headers.authorization = value;
  });
  return headers;
}
