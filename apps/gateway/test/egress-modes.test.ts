import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createKubeClient, type KubeClient } from "@keelson/kube-client";
import { silentLogger, systemClock } from "@keelson/service";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NodeTable } from "../src/tunnel/egress/node-table.ts";
import { type EgressMode, routeOf } from "../src/tunnel/egress/route.ts";

function node(name: string, ip: string, egress: boolean, kubeletPort = 10_250) {
  const labels = egress ? { "egress.k3s.io/cluster": "true" } : {};
  const status = {
    addresses: [
      { type: "Hostname", address: name },
      { type: "InternalIP", address: ip },
    ],
    daemonEndpoints: { kubeletEndpoint: { Port: kubeletPort } },
  };
  return { metadata: { name, labels, resourceVersion: "1" }, status };
}

function pod(name: string, nodeName: string, podIP: string, hostNetwork = false) {
  const metadata = { name, namespace: "default", resourceVersion: "1" };
  return { metadata, spec: { nodeName, hostNetwork }, status: { podIP, podIPs: [{ ip: podIP }] } };
}

const lists: Readonly<Record<string, unknown[]>> = {
  nodes: [node("labelled", "10.0.0.1", true), node("plain", "10.0.0.2", false, 10_259)],
  pods: [
    pod("web", "labelled", "10.42.0.5"),
    pod("proxy", "labelled", "10.0.0.1", true),
    pod("stray", "plain", "10.42.1.5"),
  ],
};

let directory: string;
let server: Server;
let client: KubeClient;
const watches = new Map<string, ServerResponse>();
const listed = new Set<string>();

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "keelson-egress-"));
  server = createServer((req, res) => {
    const { pathname, searchParams } = new URL(req.url!, "http://api");
    const plural = pathname.split("/").at(-1)!;
    res.setHeader("content-type", "application/json");
    if (searchParams.has("watch")) {
      watches.set(plural, res);
      return res.flushHeaders();
    }
    listed.add(plural);
    res.end(JSON.stringify({ kind: "List", metadata: { resourceVersion: "1" }, items: lists[plural] }));
  });
  const socketPath = join(directory, "api.sock");
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  client = createKubeClient({ socketPath });
});

afterAll(async () => {
  client.close();
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true });
});

/** The table of a mode when it has seen the API, and what becomes of a target by it. */
async function routesOf(mode: EgressMode) {
  listed.clear();
  watches.clear();
  const table = new NodeTable(client, mode, { log: silentLogger, clock: systemClock });
  table.start();
  await expect.poll(() => table.nodeByName("labelled")).toBeDefined();
  if (mode === "pod" || mode === "cluster") await expect.poll(() => table.nodeOfPodIp("10.42.1.5")).toBeDefined();
  const route = (host: string, port: number): string => {
    const answer = routeOf(host, port, { mode, table, ownNode: undefined, loopback: "127.0.0.1" });
    return answer.via === "tunnel" ? `${answer.node} ${answer.address}` : answer.via;
  };
  return { table, route };
}

describe.each(["agent", "pod", "cluster"] as const)("egress mode %s", (mode) => {
  test("tunnels what belongs to nodes, and pods' addresses where the mode has them", async () => {
    const { table, route } = await routesOf(mode);
    const tunnelsPods = mode !== "agent";
    expect(route("plain", 10_259)).toBe("plain 127.0.0.1:10259");
    expect(route("10.0.0.2", 10_259)).toBe("plain 127.0.0.1:10259");
    expect(route("10.0.0.2", 10_010)).toBe("plain 127.0.0.1:10010");
    expect(route("10.0.0.2", 10_250)).toBe("direct");
    expect(route("10.42.0.5", 8_080)).toBe(tunnelsPods ? "labelled 10.42.0.5:8080" : "direct");
    // Without the label its agent would refuse, and a stock one would close its whole tunnel.
    expect(route("10.42.1.5", 8_080)).toBe("direct");
    expect(route("10.43.0.10", 53)).toBe("direct");
    expect([...listed].sort()).toEqual(tunnelsPods ? ["nodes", "pods"] : ["nodes"]);
    table.stop();
  });
});

test("in mode disabled nothing is tunnelled: a node's name leads to its address", async () => {
  const { table } = await routesOf("disabled");
  const input = { mode: "disabled", table, ownNode: undefined, loopback: "127.0.0.1" } as const;
  expect(routeOf("plain", 10_259, input)).toEqual({ via: "direct", host: "10.0.0.2", port: 10_259 });
  table.stop();
});

test("a pod that goes, and a node that takes another address, are followed", async () => {
  const { table, route } = await routesOf("cluster");
  await expect.poll(() => watches.size).toBe(2);
  const send = (plural: string, type: string, object: unknown): void => {
    watches.get(plural)!.write(`${JSON.stringify({ type, object })}\n`);
  };
  send("pods", "DELETED", {
    ...pod("web", "labelled", "10.42.0.5"),
    metadata: { name: "web", namespace: "default", resourceVersion: "2" },
  });
  await expect.poll(() => route("10.42.0.5", 8_080)).toBe("direct");
  const moved = node("plain", "10.0.0.7", false, 10_259);
  send("nodes", "MODIFIED", { ...moved, metadata: { ...moved.metadata, resourceVersion: "3" } });
  await expect.poll(() => route("10.0.0.7", 10_259)).toBe("plain 127.0.0.1:10259");
  expect(route("10.0.0.2", 10_259)).toBe("direct");
  table.stop();
});
