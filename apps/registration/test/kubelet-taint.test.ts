import { ManualClock, silentLogger } from "@keelson/service";
import { expect, it, onTestFinished } from "vitest";
import { AgentRoles, agentRoles } from "../src/cluster/agent-roles.ts";
import { KubeletTaint } from "../src/nodes/kubelet-taint.ts";
import { FakeCluster } from "./support/fake-cluster.ts";

it("keeps pods off a node while it has no kubelet, and nothing else off it", async () => {
  const cluster = new FakeCluster();
  const taint = new KubeletTaint(cluster, silentLogger);
  taint.start();
  onTestFinished(() => taint.stop());
  const taints = () => cluster.nodes.get("agent-1")?.spec?.taints?.map(({ key }) => key);
  const reports = (kubeletVersion: string, ...keys: string[]) => {
    const { metadata } = cluster.nodes.get("agent-1") ?? cluster.addNode("agent-1");
    cluster.setNode({
      metadata,
      spec: { taints: keys.map((key) => ({ key, effect: "NoSchedule" })) },
      status: { nodeInfo: { kubeletVersion } },
    });
  };
  reports("v1.32.4", "dedicated", "keelson.io/no-kubelet");
  await expect.poll(taints).toEqual(["dedicated"]);
  reports("v0.1.0+keelson", "dedicated");
  await expect.poll(taints).toEqual(["dedicated", "keelson.io/no-kubelet"]);
  // Registered a moment ago: nobody has said yet who keeps it.
  reports("", "keelson.io/no-kubelet");
  await new Promise((resolve) => setImmediate(resolve));
  expect(taints()).toEqual(["keelson.io/no-kubelet"]);
});

it("tells the API what agents may do as soon as it answers", async () => {
  const clock = new ManualClock();
  const cluster = new FakeCluster(clock);
  cluster.failure = new Error("the API is away");
  const roles = new AgentRoles(cluster, clock, silentLogger);
  roles.start();
  await expect.poll(() => clock.pendingTimers).toBe(1);
  cluster.failure = undefined;
  clock.advance(1_000);
  await expect.poll(() => cluster.roles.size).toBe(agentRoles.length);
  roles.stop();
  expect(clock.pendingTimers).toBe(0);
});
