import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import {
  allCapabilities,
  joinConnections,
  noCapabilities,
  TunnelSession,
  type TunnelStream,
} from "@keelson/protocol/tunnel";
import { systemClock } from "@keelson/service";

/** What the parent tells an agent process to do. */
export interface AgentOrder {
  port: number;
  /** PEM of the CA: the tunnel runs over TLS. */
  ca?: string;
  /** Without extensions, as towards a stock server. */
  legacy?: boolean;
}

const chunk = Buffer.alloc(64 * 1024, 0x62);

/** The agent's end, a process of its own: opens a session as told and serves a few made-up targets. */
export function runAgentPart(): Promise<number> {
  process.on("message", openSession);
  process.send!("ready");
  return new Promise(() => {});
}

function openSession({ port, ca, legacy }: AgentOrder): void {
  const transport =
    ca === undefined
      ? connectTcp({ port, host: "127.0.0.1" })
      : connectTls({ port, host: "127.0.0.1", ca, servername: "localhost" });
  transport.once(ca === undefined ? "connect" : "secureConnect", () => {
    const session: TunnelSession = new TunnelSession({
      role: "client",
      transport,
      capabilities: legacy ? noCapabilities : allCapabilities,
      sessionName: "client/0",
      clock: systemClock,
      onConnect: (stream, { address }) => serve(session, stream, address),
    });
  });
  transport.on("error", () => {});
}

/** Targets by name: `source:<MiB>`, `sink`, `echo`, or a real `127.0.0.1:<port>`. */
function serve(session: TunnelSession, stream: TunnelStream, address: string): void {
  const [name, size] = address.split(":");
  if (name === "127.0.0.1") {
    const socket = connectTcp({ port: Number(size), host: "127.0.0.1", allowHalfOpen: true });
    socket.once("connect", () => {
      session.accept(stream);
      joinConnections(stream, socket);
    });
    socket.on("error", () => stream.destroy());
    stream.once("close", () => socket.destroy());
    return;
  }
  session.accept(stream);
  if (name === "echo") stream.pipe(stream);
  else if (name === "sink") {
    stream.resume();
    stream.once("end", () => stream.end());
  } else writeBulk(stream, Number(size) * 1024 * 1024);
}

/** Writes that many bytes with back-pressure, then ends. */
export function writeBulk(stream: TunnelStream, bytes: number): void {
  let left = bytes;
  const more = (): void => {
    while (left > 0) {
      left -= chunk.length;
      if (!stream.write(chunk)) {
        stream.once("drain", more);
        return;
      }
    }
    stream.end();
  };
  more();
}
