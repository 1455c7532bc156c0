import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { BackgroundClient } from "./background-client.ts";
import type { Cluster, Credentials } from "./cluster.ts";
import { type Fault, injectFault } from "./faults.ts";
import { kubectl } from "./kubectl.ts";

export interface Topology {
  name: string;
  /** Brings up servers, their datastore, the fixed address and the agents; the first agent carries the client. */
  build: () => Promise<Cluster>;
  /** Which faults are injected, in this order. Asked when the cluster is up, since a leader is known only then. */
  faults: readonly { title: string; fault: (cluster: Cluster) => Promise<Fault> | Fault }[];
}

/** How a client on an agent's host notices the loss of a part. Bounds of the project's promises, in milliseconds. */
export const bounds = {
  statelessKill: 2_000,
  leader: 5_000,
  /** An etcd that has lost its leader without a word may need a second vote, each some seconds long. */
  silentLeader: 8_000,
  /** A frozen or cut-off peer says nothing, so its loss is known only after the liveness checks have run out. */
  silentLoss: 5_000,
  /** A database may be away as long as it is down, and three seconds more. */
  afterDatabase: 3_000,
  /** What was sent into a cut is sent again by TCP at 3.0 s and then at 6.2 s. */
  retransmission: 3_200,
};

/** The suite of a topology: up, joined, kubectl works, then every fault while a background client writes and watches. */
export function describeTopology(topology: Topology): void {
  const noEngine = inject("noEngine");
  if (noEngine !== "") console.warn(`skipped: no container engine: ${noEngine}`);
  describe.skipIf(noEngine !== "")(topology.name, () => {
    let cluster: Cluster;
    let credentials: Credentials;
    let client: BackgroundClient;
    let agentsStarted: string[];
    let failed = false;

    beforeAll(async () => {
      cluster = await topology.build();
      credentials = await cluster.adminCredentials();
    });

    afterEach(({ task }) => {
      failed ||= task.result?.state === "fail";
    });

    afterAll(async () => {
      if (cluster === undefined) return;
      if (failed) await cluster.printLogs();
      await client?.remove();
      await cluster.remove();
    });

    const agents = () => [...cluster.nodes.values()].filter(({ name }) => name.startsWith("agent-"));
    const startTimes = () => Promise.all(agents().map(async (agent) => (await agent.state()).startedAt));

    test("kubectl reaches the API at the fixed address and sees every agent Ready", async () => {
      await expect
        .poll(() => kubectl(cluster, credentials, "get", "nodes", "--no-headers").catch(String), {
          timeout: 60_000,
          interval: 1_000,
        })
        .toSatisfy((text: string) => agents().every(({ name }) => new RegExp(`^${name}\\s+Ready\\b`, "m").test(text)));
      agentsStarted = await startTimes();
    });

    test("a client on an agent's host writes and watches", async () => {
      client = await BackgroundClient.start(agents()[0]!, credentials);
      await client.acknowledgements(50);
    });

    for (const { title, fault } of topology.faults) {
      // Bounds are on the clock, and a machine that stalls for a second misses them for no fault of ours: a miss counts
      // when it happens twice. What was lost or not seen is judged once, at the end, over everything.
      test(title, { retry: 1 }, async () => {
        const planned = await fault(cluster);
        const { outageMs, maxOutageMs, refusals } = await injectFault(topology.name, planned, client);
        expect(outageMs, refusals.join("\n")).toBeLessThanOrEqual(maxOutageMs);
      });
    }

    test("nothing acknowledged was lost, and the watch is complete, in order and without repetition", async () => {
      const verdict = (await client.finish()).verdict();
      console.log(`${topology.name}: ${verdict.acknowledged} writes acknowledged, ${verdict.refused} attempts refused`);
      expect(verdict).toMatchObject({ lost: [], unseen: [], repeated: [], disordered: [] });
    });

    test("no agent was restarted", async () => {
      expect(await startTimes()).toEqual(agentsStarted);
    });
  });
}
