import type { IncomingMessage } from "node:http";

/** What is wrong with a WebSocket handshake, in the words stock K3s answers with; undefined when it is sound. */
export function websocketProblem(req: IncomingMessage): string | undefined {
  const { headers } = req;
  if (!listed(headers.connection, "upgrade")) {
    return "websocket: the client is not using the websocket protocol: 'upgrade' token not found in 'Connection' header";
  }
  if (!listed(headers.upgrade, "websocket")) {
    return "websocket: the client is not using the websocket protocol: 'websocket' token not found in 'Upgrade' header";
  }
  if (req.method !== "GET") {
    return "websocket: the client is not using the websocket protocol: request method is not GET";
  }
  if (headers["sec-websocket-version"] !== "13") {
    return "websocket: unsupported version: 13 not found in 'Sec-Websocket-Version' header";
  }
  if (!/^[A-Za-z0-9+/]{22}==$/.test(headers["sec-websocket-key"] ?? "")) {
    return "websocket: not a websocket handshake: 'Sec-WebSocket-Key' header is missing or blank";
  }
  return undefined;
}

function listed(value: string | undefined, token: string): boolean {
  return (value ?? "").split(",").some((part) => part.trim().toLowerCase() === token);
}
