import type { Duplex } from "node:stream";
import { closeAfter, joinConnections } from "@keelson/protocol/tunnel";

const statusTexts: Readonly<Record<number, string>> = {
  400: "Bad Request",
  403: "Forbidden",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

/** Nothing but the header may be sent before the client speaks, or kube-apiserver gives up. */
const established = "HTTP/1.1 200 Connection established\r\n\r\n";

/** Answers a CONNECT that failed. kube-apiserver shows the status line only, so the reason stands in it. */
export function refuseConnect(socket: Duplex, status: number, reason: string): void {
  const line = reason.replace(/[^\x20-\x7e]+/g, " ").slice(0, 300);
  const body = `${reason}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${statusTexts[status] ?? ""}: ${line}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

/** Joins an accepted CONNECT with its target: both directions, each ended on its own. Errors close, and closing is passed on. */
export function relayConnect(socket: Duplex, head: Buffer, target: Duplex): void {
  socket.write(established);
  if (head.length > 0) target.write(head);
  const closes = (): void => {};
  target.on("error", closes).once("close", () => closeAfter(socket));
  socket.on("error", closes).once("close", () => closeAfter(target));
  joinConnections(socket, target);
}
