import { randomBytes } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import type { Duplex } from "node:stream";
import {
  acceptKey,
  allCapabilities,
  type Capabilities,
  capabilityHeader,
  commonCapabilities,
  formatCapabilities,
  parseCapabilities,
  type SessionEpoch,
} from "@keelson/protocol/tunnel";
import { KeelsonError } from "@keelson/service";

export interface TunnelTls {
  ca: string;
  cert: string;
  key: string;
}

/** remotedialer's handshake time limit; K3s has none and waits for ever. */
const handshakeTimeoutMs = 10_000;

/** Opens the WebSocket to `/v1-k3s/connect` of one server and tells what both ends can. */
export function openTunnel(
  address: { host: string; port: number },
  tls: TunnelTls,
  epoch: SessionEpoch,
  signal: AbortSignal,
): Promise<{ socket: Duplex; head: Buffer; capabilities: Capabilities }> {
  const key = randomBytes(16).toString("base64");
  return new Promise((resolve, reject) => {
    const req = request({
      host: address.host,
      port: address.port,
      path: "/v1-k3s/connect",
      agent: false,
      signal,
      ...tls,
      headers: {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": key,
        [capabilityHeader]: formatCapabilities({ capabilities: allCapabilities, epoch }),
      },
    });
    const timer = setTimeout(
      () => req.destroy(new Error(`no answer within ${handshakeTimeoutMs} ms`)),
      handshakeTimeoutMs,
    );
    req.once("close", () => clearTimeout(timer));
    req.once("error", (cause) => {
      reject(new KeelsonError("tunnel/unreachable", "the server cannot be reached", { cause }));
    });
    req.once("response", (res: IncomingMessage) => {
      res.resume();
      reject(refused(res.statusCode ?? 0));
      req.destroy();
    });
    req.once("upgrade", (res, socket, head) => {
      clearTimeout(timer);
      if (res.headers["sec-websocket-accept"] !== acceptKey(key)) {
        socket.destroy();
        return void reject(new KeelsonError("tunnel/handshake", "the server's WebSocket answer does not fit our key"));
      }
      const answered = parseCapabilities(res.headers[capabilityHeader]).capabilities;
      resolve({ socket, head, capabilities: commonCapabilities(allCapabilities, answered) });
    });
    req.end();
  });
}

function refused(status: number): KeelsonError {
  const certificate = status === 401 || status === 403;
  return new KeelsonError("tunnel/refused", `the server answered ${status} to the tunnel`, {
    hint: certificate ? "it does not accept this node's certificate; the agent fetches a new one when it restarts" : "",
    status,
  });
}
