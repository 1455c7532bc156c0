import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { BackgroundClient } from "../src/background-client.ts";
import { Cluster } from "../src/cluster.ts";

/** An upgrade replaces each process in order: it is told to end, ends in order, and starts again on the same data. */
describe.skipIf(inject("noEngine") !== "")(
  "a rolling upgrade of two servers on PostgreSQL, one at a time, under load",
  () => {
    let cluster: Cluster;
    let client: BackgroundClient;

    beforeAll(async () => {
      cluster = await Cluster.create("upgrade", 6);
      const [{ endpoint }] = await Promise.all([cluster.addPostgres(), cluster.addBalancer(2)]);
      const flags = ["--datastore-endpoint", endpoint];
      await Promise.all([cluster.addServer(1, flags), cluster.addServer(2, flags)]);
      await Promise.all([cluster.addAgent(1), cluster.addAgent(2)]);
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

    test.each(["server-1", "server-2", "agent-2"])(
      "no request needs more than one retry while %s is replaced",
      async (name) => {
        const startedAtMs = Date.now();
        await cluster.node(name).shutDown();
        await client.acknowledgements(20);
        await cluster.node(name).start();
        await client.acknowledgements(100);
        expect(client.history.mostAttempts(startedAtMs, Date.now())).toBeLessThanOrEqual(2);
      },
    );

    test("nothing acknowledged was lost", async () => {
      const verdict = (await client.finish()).verdict();
      expect(verdict).toMatchObject({ lost: [], unseen: [], repeated: [], disordered: [] });
    });
  },
);
