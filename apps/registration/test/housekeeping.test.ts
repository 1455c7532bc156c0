import { nodePasswordSecret } from "@keelson/secret-format";
import { ManualClock, silentLogger } from "@keelson/service";
import { describe, expect, it, onTestFinished } from "vitest";
import { Housekeeping } from "../src/nodes/housekeeping.ts";
import { listRegisteredNodes, releaseNode } from "../src/nodes/registered-nodes.ts";
import { createBootstrapToken } from "../src/tokens/bootstrap-tokens.ts";
import { FakeCluster } from "./support/fake-cluster.ts";

const name = (node: string): string => `${node}.node-password.k3s`;

function start(): { cluster: FakeCluster; clock: ManualClock; housekeeping: Housekeeping } {
  const clock = new ManualClock();
  const cluster = new FakeCluster(clock);
  const housekeeping = new Housekeeping(cluster, clock, silentLogger);
  housekeeping.start();
  onTestFinished(() => housekeeping.stop());
  return { cluster, clock, housekeeping };
}

describe("a node-password Secret", () => {
  it("belongs to its Node from the moment that this appears, and goes when it is deleted", async () => {
    const { cluster } = start();
    await cluster.createSecret(nodePasswordSecret("agent-1", "$1:hash"));
    const node = cluster.addNode("agent-1");
    const owners = () => cluster.secrets.get(name("agent-1"))?.metadata.ownerReferences;
    await expect.poll(owners).toMatchObject([{ kind: "Node", name: "agent-1", uid: node.metadata.uid }]);
    cluster.removeNode("agent-1");
    await expect.poll(() => cluster.secrets.size).toBe(0);
  });

  it("is swept when it is older than ten minutes and has no Node", async () => {
    const { cluster, clock, housekeeping } = start();
    await cluster.createSecret(nodePasswordSecret("never-came", "$1:hash"));
    await cluster.createSecret({ metadata: { name: "something-else" } });
    await cluster.createSecret(nodePasswordSecret("agent-1", "$1:hash"));
    cluster.addNode("agent-1");
    expect(await housekeeping.sweep()).toEqual([]);
    clock.advance(11 * 60_000);
    await expect.poll(() => [...cluster.secrets.keys()].sort()).toEqual([name("agent-1"), "something-else"]);
  });

  it("is left alone while the API cannot say which Nodes there are", async () => {
    const { cluster, clock, housekeeping } = start();
    await cluster.createSecret(nodePasswordSecret("agent-1", "$1:hash"));
    clock.advance(30 * 60_000);
    cluster.secrets.set(name("agent-2"), { ...nodePasswordSecret("agent-2", "$1:hash") });
    cluster.ready = false;
    expect(await housekeeping.sweep()).toEqual([]);
    expect(cluster.secrets.has(name("agent-2"))).toBe(true);
  });

  it("is listed, and released by hand", async () => {
    const { cluster } = start();
    await cluster.createSecret(nodePasswordSecret("agent-2", "$1:hash"));
    await cluster.createSecret(nodePasswordSecret("agent-1", "$1:hash"));
    cluster.addNode("agent-1");
    expect(await listRegisteredNodes(cluster)).toMatchObject([
      { name: "agent-1", hasNode: true },
      { name: "agent-2", hasNode: false },
    ]);
    await releaseNode(cluster, "Agent-2");
    await expect(releaseNode(cluster, "agent-2")).rejects.toMatchObject({ code: "node/not-registered" });
  });

  it("is not the only thing that is swept: expired bootstrap tokens go too", async () => {
    const { cluster, clock } = start();
    await createBootstrapToken(cluster, { token: "aaaaaa.0123456789abcdef", ttlMs: 60_000 }, clock.now());
    await createBootstrapToken(cluster, { token: "bbbbbb.0123456789abcdef", ttlMs: 0 }, clock.now());
    clock.advance(120_000);
    await expect.poll(() => [...cluster.secrets.keys()]).toEqual(["bootstrap-token-bbbbbb"]);
  });

  it("leaves no timer behind", () => {
    const { clock, housekeeping } = start();
    housekeeping.stop();
    expect(clock.pendingTimers).toBe(0);
  });
});
