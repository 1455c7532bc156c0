import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import {
  allCapabilities,
  type Capabilities,
  TunnelSession,
  type TunnelSessionOptions,
} from "../../src/tunnel/index.ts";

/** Real time for sessions on real sockets. */
export const realClock = {
  monotonic: () => performance.now(),
  setInterval(fn: () => void, periodMs: number) {
    const timer = setInterval(fn, periodMs);
    return { cancel: () => clearInterval(timer) };
  },
  setTimeout(fn: () => void, delayMs: number) {
    const timer = setTimeout(fn, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Two connected TCP sockets on loopback. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
  const client = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", allowHalfOpen: true });
  const sockets: [Socket, Socket] = [client, await accepted];
  server.close();
  return sockets;
}

/** An agent's and a server's session over one loopback connection. */
export async function sessionPair(
  options: {
    capabilities?: Capabilities;
    agent?: Partial<TunnelSessionOptions>;
    server?: Partial<TunnelSessionOptions>;
  } = {},
): Promise<{ agent: TunnelSession; server: TunnelSession; close(): void }> {
  const [agentSocket, serverSocket] = await socketPair();
  const capabilities = options.capabilities ?? allCapabilities;
  const agent = new TunnelSession({
    role: "client",
    transport: agentSocket,
    capabilities,
    sessionName: "client/0",
    clock: realClock,
    onConnect: (stream, target) => {
      const [host, port] = [target.address.slice(0, target.address.lastIndexOf(":")), target.address.split(":").at(-1)];
      const socket = connect({ host, port: Number(port), allowHalfOpen: true });
      socket.once("connect", () => {
        agent.accept(stream);
        stream.pipe(socket);
        socket.pipe(stream);
      });
      socket.once("error", (error) => agent.refuse(stream, "refused", error.message));
      stream.once("close", () => socket.destroy());
      stream.on("error", () => {});
    },
    ...options.agent,
  });
  const server = new TunnelSession({
    role: "server",
    transport: serverSocket,
    capabilities,
    sessionName: "node-a/42",
    clock: realClock,
    ...options.server,
  });
  return {
    agent,
    server,
    close() {
      agent.close("test is over");
      server.close("test is over");
    },
  };
}
