import { describe, expect, it } from "vitest";
import { type DevPlanInput, planDev } from "../src/dev/plan.ts";

const input: DevPlanInput = {
  servers: 1,
  agents: 1,
  dataDir: "/x",
  httpsPort: 6443,
  lbPort: 6444,
  datastorePort: 2379,
  datastoreEndpoint: undefined,
};

describe("the plan of a local cluster", () => {
  it("puts a single server on the registration address, with SQLite", () => {
    const plan = planDev(input);
    expect(plan.needsBalancer).toBe(false);
    expect(plan.servers[0]?.address).toBe(plan.registrationAddress);
    expect(plan.servers[0]?.args.filter((arg) => /datastore-endpoint|cluster-init|--server=/.test(arg))).toEqual([]);
  });

  it("gives several servers addresses of their own and one embedded etcd cluster", () => {
    const plan = planDev({ ...input, servers: 3, agents: 2 });
    expect(plan.needsBalancer).toBe(true);
    expect(plan.servers.map((server) => server.address)).toEqual([
      "127.0.1.1:6443",
      "127.0.1.2:6443",
      "127.0.1.3:6443",
    ]);
    expect(plan.servers[0]?.args).toContain("--cluster-init");
    expect(plan.servers[2]?.args).toContain("--server=https://127.0.1.1:6443");
    expect(plan.agents.map((agent) => agent.lbAddress)).toEqual(["127.0.0.1:6444", "127.0.0.1:6445"]);
    expect(plan.agents.every((agent) => agent.args.includes("--server=https://127.0.0.1:6443"))).toBe(true);
  });

  it("shares an external database when one is named", () => {
    const plan = planDev({ ...input, servers: 2, datastoreEndpoint: "postgres://db/kubernetes" });
    for (const server of plan.servers) expect(server.args).toContain("--datastore-endpoint=postgres://db/kubernetes");
    expect(plan.servers.flatMap((server) => server.args).some((arg) => arg.startsWith("--server="))).toBe(false);
  });

  it("refuses impossible counts", () => {
    expect(() => planDev({ ...input, servers: 0 })).toThrow("--servers");
    expect(() => planDev({ ...input, agents: -1 })).toThrow("--agents");
  });
});
