import { request } from "node:https";
import type { Duplex } from "node:stream";
import { DialError, type DialFailure } from "@keelson/protocol/tunnel";

/** Names the node in a CONNECT from another replica. It may use sessions of its own only: there is never a second hop. */
export const handOverHeader = "x-keelson-tunnel-node";

export interface ReplicaTls {
  ca: string;
  /** A client certificate of the group system:masters, as the API server's own. */
  cert: string;
  key: string;
}

const failures: Readonly<Record<number, DialFailure>> = { 403: "forbidden", 504: "timeout" };

/** Opens a stream through another replica's session: CONNECT over mutual TLS to its public port. */
export function handOver(
  replica: { host: string; port: number },
  nodeName: string,
  address: string,
  tls: ReplicaTls,
  timeoutMs: number,
): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const req = request({
      ...replica,
      ...tls,
      method: "CONNECT",
      path: address,
      agent: false,
      headers: { host: "127.0.0.1", [handOverHeader]: nodeName },
    });
    const timer = setTimeout(() => req.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    req.once("close", () => clearTimeout(timer));
    req.once("error", (error) => {
      const where = `${replica.host}:${replica.port}`;
      reject(new DialError("unreachable", `gateway ${where}, which holds its session: ${error.message}`));
    });
    req.once("connect", (res, socket, head) => {
      clearTimeout(timer);
      if (res.statusCode !== 200) {
        socket.destroy();
        const reason = (res.statusMessage ?? "").replace(/^[A-Z][A-Za-z ]*: /, "");
        return void reject(new DialError(failures[res.statusCode ?? 0] ?? "failed", reason));
      }
      socket.setNoDelay(true);
      if (head.length > 0) socket.unshift(head);
      resolve(socket);
    });
    req.end();
  });
}
