import type { ServerResponse } from "node:http";
import { statusBody } from "@keelson/protocol/supervisor";

/**
 * Answers with a failure. Closes an HTTP/1.1 connection afterwards, as newest K3s does: a client that was refused
 * may not keep a connection and an unread body open on our side.
 */
export function sendStatus(
  res: ServerResponse,
  code: number,
  message: string,
  headers: Record<string, string> = {},
): void {
  if (res.headersSent) {
    res.destroy();
    return;
  }
  send(res, code, "application/json", JSON.stringify(statusBody(code, message)), { ...closing(res), ...headers });
}

/** Answers with a complete body of known length. */
export function send(
  res: ServerResponse,
  code: number,
  contentType: string,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
): void {
  res.writeHead(code, {
    "Content-Type": contentType,
    "Content-Length": String(typeof body === "string" ? Buffer.byteLength(body) : body.byteLength),
    ...headers,
  });
  res.end(res.req.method === "HEAD" ? undefined : body);
}

/** The bytes of a failure for a socket that has no response object: an upgrade, a CONNECT or a malformed request. */
export function rawStatus(code: number, message: string): string {
  return rawResponse(code, "application/json", JSON.stringify(statusBody(code, message)));
}

/** A complete HTTP/1.1 response that ends the connection. */
export function rawResponse(code: number, contentType: string, body: string): string {
  return [
    `HTTP/1.1 ${code} ${phrases[code] ?? "Error"}`,
    `Content-Type: ${contentType}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Connection: close",
    "",
    body,
  ].join("\r\n");
}

const phrases: Record<number, string> = {
  200: "OK",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  408: "Request Timeout",
  413: "Request Entity Too Large",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
};

function closing(res: ServerResponse): Record<string, string> {
  return res.req.httpVersionMajor === 1 ? { Connection: "close" } : {};
}
