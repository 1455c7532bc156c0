import type { IncomingMessage, ServerResponse } from "node:http";
import type { Readable } from "node:stream";

export interface Content {
  contentType: string;
  sizeBytes: number;
  lastModifiedMs: number;
  /** The bytes from `start` up to and including `end`. */
  read(start: number, end: number): Uint8Array | Readable;
}

/** A text that is served like a file. */
export function textContent(text: string, lastModifiedMs: number): Content {
  const bytes = Buffer.from(text);
  return {
    contentType: "text/plain",
    sizeBytes: bytes.length,
    lastModifiedMs,
    read: (start, end) => bytes.subarray(start, end + 1),
  };
}

/** Serves content with If-Modified-Since and single byte ranges, as Go's http.ServeContent does for K3s. */
export function sendContent(req: IncomingMessage, res: ServerResponse, content: Content): void {
  const headers: Record<string, string> = {
    "Accept-Ranges": "bytes",
    "Last-Modified": new Date(content.lastModifiedMs).toUTCString(),
  };
  if (notModified(req.headers["if-modified-since"], content.lastModifiedMs)) {
    res.writeHead(304, headers).end();
    return;
  }
  const range = parseRange(req.headers.range, content.sizeBytes);
  if (range === "unsatisfiable") {
    res.writeHead(416, { ...headers, "Content-Range": `bytes */${content.sizeBytes}` }).end();
    return;
  }
  const { start, end } = range ?? { start: 0, end: content.sizeBytes - 1 };
  headers["Content-Type"] = content.contentType;
  headers["Content-Length"] = String(end - start + 1);
  if (range !== undefined) headers["Content-Range"] = `bytes ${start}-${end}/${content.sizeBytes}`;
  res.writeHead(range === undefined ? 200 : 206, headers);
  if (req.method === "HEAD") return void res.end();
  const body = content.read(start, end);
  if (body instanceof Uint8Array) return void res.end(body);
  body.once("error", () => res.destroy());
  res.once("close", () => body.destroy());
  body.pipe(res);
}

/** HTTP dates have whole seconds. */
function notModified(since: string | undefined, lastModifiedMs: number): boolean {
  const sinceMs = since === undefined ? Number.NaN : Date.parse(since);
  return !Number.isNaN(sinceMs) && Math.floor(lastModifiedMs / 1_000) * 1_000 <= sinceMs;
}

/** Several ranges at once are answered with the whole, which RFC 9110 allows. */
function parseRange(
  header: string | undefined,
  size: number,
): { start: number; end: number } | "unsatisfiable" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (match === null || (match[1] === "" && match[2] === "")) return undefined;
  const [first, last] = [match[1] ?? "", match[2] ?? ""];
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size - 1 : Math.min(Number(last), size - 1);
  return start > end || start >= size ? "unsatisfiable" : { start, end };
}
