import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { EgressMode } from "../src/tunnel/egress/route.ts";
import { type ClusterApi, node, pod, startClusterApi } from "./support/cluster-api.ts";
import { type Harness, startHarness } from "./support/harness.ts";
import { connectEgress, openTestTunnel, type TestAgent } from "./support/tunnel-agent.ts";

/** Addresses of a cluster that this host has too, so that what goes past the tunnels is seen to arrive. */
const ips = { labelled: "127.9.0.1", plain: "127.9.0.2", lost: "127.9.0.3", pod: "127.9.1.1", lostPod: "127.9.1.3" };

/** Every address of this host, at one port: says that it was reached without a tunnel. */
let host: Server;
let port: number;

beforeAll(async () => {
  host = createServer((socket) => {
    socket.on("error", () => {});
    socket.write(`direct ${socket.localAddress}`);
  });
  await new Promise<void>((resolve) => host.listen(0, "0.0.0.0", resolve));
  port = (host.address() as AddressInfo).port;
});

afterAll(() => void host.close());

interface Cluster {
  harness: Harness;
  agents: TestAgent[];
  api: ClusterApi;
}

/** A gateway in a mode, with tunnels of two of the three nodes; each agent says which address it was asked for. */
async function startCluster(mode: EgressMode): Promise<Cluster> {
  const lists: Readonly<Record<string, unknown[]>> = {
    nodes: [
      node("labelled", ips.labelled, true, port),
      node("plain", ips.plain, false, port),
      node("lost", ips.lost, true, 10_250),
    ],
    pods: [pod("web", "labelled", ips.pod), pod("gone", "lost", ips.lostPod)],
  };
  const api = await startClusterApi(lists);
  const harness = await startHarness({
    config: { tunnel: { mode, kubeApi: { socketPath: api.socketPath }, dialTimeoutMs: 2_000 } },
  });
  const agents = await Promise.all(
    ["labelled", "plain"].map((name) =>
      openTestTunnel(harness, name, {
        onConnect(session, stream, { address }) {
          session.accept(stream);
          stream.write(`${name} ${address}`);
        },
      }),
    ),
  );
  await vi.waitUntil(() => api.watches.size === (mode === "pod" || mode === "cluster" ? 2 : 1));
  return { harness, agents, api };
}

/** Who answered a CONNECT, or the gateway's refusal. */
async function reached(harness: Harness, target: string): Promise<string> {
  const { statusLine, socket } = await connectEgress(harness, target);
  if (!statusLine.includes(" 200 ")) return statusLine.replace("HTTP/1.1 ", "");
  socket.resume();
  const [greeting] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  return String(greeting);
}

describe.each(["disabled", "agent", "pod", "cluster"] as const)("CONNECT in egress mode %s", (mode) => {
  const tunnels = mode !== "disabled";
  const tunnelsPods = mode === "pod" || mode === "cluster";
  let cluster: Cluster;
  const at = (target: string): Promise<string> => reached(cluster.harness, target);

  beforeAll(async () => {
    cluster = await startCluster(mode);
  });
  afterAll(async () => {
    for (const { session } of cluster.agents) session.close("done");
    await cluster.harness[Symbol.asyncDispose]();
    await cluster.api[Symbol.asyncDispose]();
  });

  test("kubelets, by the node's name and by its address", async () => {
    const expected = tunnels ? `plain 127.0.0.1:${port}` : `direct ${ips.plain}`;
    expect(await at(`plain:${port}`)).toBe(expected);
    expect(await at(`${ips.plain}:${port}`)).toBe(expected);
    if (tunnels) expect(await at("plain:10010")).toBe("plain 127.0.0.1:10010");
  });

  test("pods, where their node's agent passes them on", async () => {
    expect(await at(`${ips.pod}:${port}`)).toBe(tunnelsPods ? `labelled ${ips.pod}:${port}` : `direct ${ips.pod}`);
  });

  test("a node without a tunnel: its pods directly, its kubelet never", async () => {
    expect(await at(`${ips.lostPod}:${port}`)).toBe(`direct ${ips.lostPod}`);
    expect(await at(`lost:${port}`)).toBe(
      tunnels
        ? "502 Bad Gateway: failed to find Session for client lost: its agent has no tunnel to this server"
        : `direct ${ips.lost}`,
    );
  });

  test("any other address directly", async () => {
    expect(await at(`127.9.9.9:${port}`)).toBe("direct 127.9.9.9");
  });
});
