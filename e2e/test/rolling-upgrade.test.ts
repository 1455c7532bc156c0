import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { BackgroundClient } from "../src/background-client.ts";
import { Cluster } from "../src/cluster.ts";

const upgrades = [
  {
    name: "two servers on PostgreSQL",
    async build(): Promise<Cluster> {
      const cluster = await Cluster.create("upgrade", 6);
      const [{ endpoint }] = await Promise.all([cluster.addPostgres(), cluster.addBalancer(2)]);
      const flags = ["--datastore-endpoint", endpoint];
      await Promise.all([cluster.addServer(1, flags), cluster.addServer(2, flags)]);
      await Promise.all([cluster.addAgent(1), cluster.addAgent(2)]);
      return cluster;
    },
    order: ["server-1", "server-2", "agent-2"],
  },
  {
    name: "parts scaled apart",
    async build(): Promise<Cluster> {
      const cluster = await Cluster.create("upgrade-parts", 9);
      await cluster.addBalancer(2);
      await cluster.addParts(2);
      await Promise.all([cluster.addAgent(1), cluster.addAgent(2)]);
      return cluster;
    },
    order: ["datastore", "kube-api", "registration", "gateway"].flatMap((part) => [`${part}-1`, `${part}-2`]),
  },
];

/** An upgrade replaces each process in order: it is told to end, ends in order, and starts again on the same data. */
describe.skipIf(inject("noEngine") !== "").each(upgrades)(
  "a rolling upgrade of $name, one at a time, under load",
  ({ build, order }) => {
    let cluster: Cluster;
    let client: BackgroundClient;

    beforeAll(async () => {
      cluster = await build();
      client = await BackgroundClient.start(cluster.node("agent-1"), await cluster.adminCredentials());
      await client.acknowledgements(50);
    });

    afterEach(async ({ task }) => {
      if (task.result?.state === "fail") await cluster.printLogs();
    });

    afterAll(async () => {
      await client?.remove();
      await cluster?.remove();
    });

    // A request gives up after a second, which a machine that stalls uses up by itself: a miss counts when it happens twice.
    test.each(order)("no request needs more than one retry while %s is replaced", { retry: 1 }, async (name) => {
      const node = cluster.node(name);
      const startedAtMs = Date.now();
      await node.shutDown();
      await client.acknowledgements(20);
      await node.start();
      await node.whenHealthy();
      await client.acknowledgements(50);
      const endMs = Date.now();
      expect(
        client.history.mostAttempts(startedAtMs, endMs),
        client.history.refusals(startedAtMs, endMs).join("\n"),
      ).toBeLessThanOrEqual(2);
    });

    test("nothing acknowledged was lost", async () => {
      const verdict = (await client.finish()).verdict();
      expect(verdict).toMatchObject({ lost: [], unseen: [], repeated: [], disordered: [] });
    });
  },
);
