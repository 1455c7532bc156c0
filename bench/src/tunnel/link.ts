import type { ChildProcess } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { Authority, createCaCertificate, exportPrivateKey, generateEcKey } from "@keelson/pki";
import { allCapabilities, noCapabilities, TunnelSession } from "@keelson/protocol/tunnel";
import { systemClock } from "@keelson/service";
import type { AgentOrder } from "./agent-part.ts";
import { forkPart } from "./fork-part.ts";

export interface Link extends AsyncDisposable {
  /** The server's end. */
  session: TunnelSession;
  /** The agent's process. */
  pid: number;
}

/** A server in this process and an agent in another, with a session between them. */
export async function openLink(options: { tls?: boolean; delayMs?: number; legacy?: boolean } = {}): Promise<Link> {
  const { tls = false, delayMs, legacy = false } = options;
  const { promise: opened, resolve } = Promise.withResolvers<TunnelSession>();
  const onSocket = (transport: Socket): void => {
    transport.on("error", () => {});
    resolve(
      new TunnelSession({
        role: "server",
        transport,
        capabilities: legacy ? noCapabilities : allCapabilities,
        sessionName: "bench/1",
        clock: systemClock,
      }),
    );
  };
  const identity = tls ? await serverIdentity() : undefined;
  const server = identity === undefined ? createServer(onSocket) : createTlsServer(identity, onSocket);
  await new Promise<void>((done) => server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 }, done));
  const agent = await startAgent();
  const { port: direct } = server.address() as AddressInfo;
  const slow = delayMs === undefined ? undefined : await slowPath(direct, delayMs);
  const order: AgentOrder = { port: slow?.port ?? direct, legacy };
  agent.send(identity === undefined ? order : { ...order, ca: identity.ca });
  const session = await opened;
  return {
    session,
    pid: agent.pid!,
    async [Symbol.asyncDispose]() {
      session.close("bench is over");
      agent.kill("SIGKILL");
      slow?.close();
      await new Promise((done) => server.close(done));
    },
  };
}

/** What a path holds in one direction before the sender must wait, as buffers of kernels do. */
const pathBytes = 8 * 1024 * 1024;

/** A path to a port on which every byte takes `delayMs`. */
async function slowPath(port: number, delayMs: number): Promise<{ port: number; close(): void }> {
  const flow = (from: Socket, to: Socket): void => {
    let held = 0;
    const leave = (bytes: number): void => {
      held -= bytes;
      if (held < pathBytes) from.resume();
    };
    from.on("data", (piece: Buffer) => {
      held += piece.length;
      if (held >= pathBytes) from.pause();
      setTimeout(() => to.write(piece, () => leave(piece.length)), delayMs);
    });
    from.on("close", () => setTimeout(() => to.destroy(), delayMs));
    from.on("error", () => {});
  };
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port, host: "127.0.0.1", noDelay: true });
    flow(near, far);
    flow(far, near);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
}

async function startAgent(): Promise<ChildProcess> {
  const child = forkPart("--part=agent");
  await once(child, "message");
  return child;
}

async function serverIdentity(): Promise<{ ca: string; cert: string; key: string }> {
  const [caKey, key] = await Promise.all([generateEcKey(), generateEcKey()]);
  const ca = createCaCertificate("bench", caKey, Date.now());
  const profile = { commonName: "bench", purposes: ["server"] as const, names: ["localhost", "127.0.0.1"] };
  const cert = new Authority(ca, caKey).issue(profile, createPublicKey(key), Date.now());
  return { ca, cert, key: exportPrivateKey(key) };
}
