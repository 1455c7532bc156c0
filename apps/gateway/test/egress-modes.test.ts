import { createKubeClient, type KubeClient } from "@keelson/kube-client";
import { silentLogger, systemClock } from "@keelson/service";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NodeTable } from "../src/tunnel/egress/node-table.ts";
import { type EgressMode, routeOf } from "../src/tunnel/egress/route.ts";
import { type ClusterApi, node, pod, startClusterApi } from "./support/cluster-api.ts";

const lists: Readonly<Record<string, unknown[]>> = {
  nodes: [
    node("labelled", "10.0.0.1", true),
    node("plain", "10.0.0.2", false, 10_259),
    node("sixth", "fd00:0:0::6", false),
  ],
  pods: [
    pod("web", "labelled", "10.42.0.5"),
    pod("proxy", "labelled", "10.0.0.1", true),
    pod("stray", "plain", "10.42.1.5"),
    // Finished, and listed after the pod that has its address now.
    pod("was", "plain", "10.42.0.5", false, "Succeeded"),
  ],
};

let api: ClusterApi;
let client: KubeClient;

beforeAll(async () => {
  api = await startClusterApi(lists);
  client = createKubeClient({ socketPath: api.socketPath });
});

afterAll(async () => {
  client.close();
  await api[Symbol.asyncDispose]();
});

/** The table of a mode when it has seen the API, and what becomes of a target by it. */
async function routesOf(mode: EgressMode) {
  api.listed.clear();
  api.watches.clear();
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
    expect(route("fd00::6", 10_250)).toBe("sixth 127.0.0.1:10250");
    expect([...api.listed].sort()).toEqual(tunnelsPods ? ["nodes", "pods"] : ["nodes"]);
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
  await expect.poll(() => api.watches.size).toBe(2);
  expect(route("10.42.0.5", 8_080)).toBe("labelled 10.42.0.5:8080");
  const send = (plural: string, type: string, object: unknown): void => {
    api.watches.get(plural)!.write(`${JSON.stringify({ type, object })}\n`);
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
