import { createPublicKey, type KeyObject } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "@keelson/conformance";
import { Authority, exportPrivateKey, generateEcKey, importPrivateKey, withoutRoots } from "@keelson/pki";
import { TunnelSession } from "@keelson/protocol/tunnel";
import { systemClock } from "@keelson/service";
import { openTunnel, type TunnelTls } from "../../../apps/agent/src/tunnel/open-tunnel.ts";
import { serverReady, startServer, stopKeelson } from "../keelson-process.ts";
import { forkPart } from "./fork-part.ts";

/** What the parent tells the agents' process: open sessions of so many more nodes with the server of a data directory. */
interface NodesOrder {
  dataDir: string;
  port: number;
  first: number;
  count: number;
  chain: Chain;
}

/** What an agent shows of its certificate file: Keelson's leave the root out, stock ones send all of it. */
type Chain = "without root" | "whole";

/** No more than a gateway's queue lets through at once. */
const handshakesAtOnce = 48;

/**
 * A real server and the tunnels of so many nodes with it, each opened as an agent opens it, over TLS with the node's own
 * certificate. `measure` reads what it will of the server's process, before the sessions and when they are all there.
 */
export async function withGatewaySessions<T>(
  { warm, measured, chain }: { warm: number; measured: number; chain: Chain },
  measure: (serverPid: number) => Promise<T>,
): Promise<{ before: T; after: T }> {
  const dataDir = await mkdtemp(join(tmpdir(), "keelson-gateway-sessions-"));
  const port = await freePort();
  const server = startServer(dataDir, port);
  const agents = forkPart("--part=nodes");
  try {
    await Promise.all([serverReady(server), once(agents, "message")]);
    const open = async (first: number, count: number): Promise<T> => {
      agents.send({ dataDir, port, first, count, chain } satisfies NodesOrder);
      const [answer] = (await once(agents, "message")) as [string];
      if (answer !== "open") throw new Error(answer);
      return measure(server.pid!);
    };
    const before = await open(0, warm);
    return { before, after: await open(warm, measured) };
  } finally {
    agents.kill("SIGKILL");
    await stopKeelson(server);
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** The agents of many nodes in one process; all share one key, which makes no difference to the server. */
export async function runNodesPart(): Promise<never> {
  const key = await generateEcKey();
  const held: TunnelSession[] = [];
  process.on("message", (order: NodesOrder) => {
    openAll(order, key, held).then(
      () => process.send!("open"),
      (error: unknown) => process.send!(`a session did not open: ${error}`),
    );
  });
  process.send!("ready");
  return new Promise(() => {});
}

async function openAll(order: NodesOrder, key: KeyObject, held: TunnelSession[]): Promise<void> {
  const read = (name: string): Promise<string> => readFile(join(order.dataDir, "server", "tls", name), "utf8");
  const [ca, clientCa, clientCaKey] = await Promise.all([
    read("server-ca.crt"),
    read("client-ca.crt"),
    read("client-ca.key"),
  ]);
  const authority = new Authority(clientCa, importPrivateKey(clientCaKey));
  const publicKey = createPublicKey(key);
  const keyPem = exportPrivateKey(key);
  let next = order.first;
  const openNext = async (): Promise<void> => {
    while (next < order.first + order.count) {
      const node = `bench-${next++}`;
      const profile = {
        commonName: `system:node:${node}`,
        organizations: ["system:nodes"],
        purposes: ["client"] as const,
      };
      const file = authority.issue(profile, publicKey, Date.now());
      const cert = order.chain === "whole" ? file : withoutRoots(file);
      held.push(await openSession(order.port, node, { ca, cert, key: keyPem }));
    }
  };
  await Promise.all(Array.from({ length: handshakesAtOnce }, openNext));
}

async function openSession(port: number, node: string, tls: TunnelTls): Promise<TunnelSession> {
  const epoch = { instance: node, epoch: 1 };
  const never = new AbortController().signal;
  const { socket, head, capabilities } = await openTunnel({ host: "127.0.0.1", port }, tls, epoch, never);
  return new TunnelSession({
    role: "client",
    transport: socket,
    head,
    capabilities,
    sessionName: "client/0",
    clock: systemClock,
    onConnect: (stream) => void stream.destroy(),
    onClosed: ({ message }) => {
      throw new Error(`the session of ${node} ended: ${message}`);
    },
  });
}
