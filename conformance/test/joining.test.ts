import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AgentEra, type JoinedAgent, joinReplayAgent } from "../../e2e/src/replay-agent.ts";
import { writeAgentDirectory } from "../../e2e/src/replay-kubeconfig.ts";
import { runStorm } from "../../e2e/src/replay-storm.ts";
import { findBinary, lacks } from "../src/host-binaries.ts";
import { type JoinServer, startJoinServer } from "../src/join-server.ts";

const run = promisify(execFile);

let directory: string;
let server: JoinServer;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "keelson-joining-"));
  server = await startJoinServer({ dataDir: directory });
});
afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

describe.each<AgentEra>(["v1.21", "newest"])("an agent as %s", (era) => {
  const nodeName = `agent-${era.replace(".", "-")}`;
  const options = () => ({
    era,
    server: server.url,
    token: server.registration.serverToken,
    nodeName,
    nodeIps: ["192.0.2.2", "fd00::2"],
  });
  let joined: JoinedAgent;
  let agentDirectory: string;

  test("joins, opens its tunnel, and comes back under the same name", async () => {
    joined = await joinReplayAgent({ ...options(), openTunnel: true });
    expect(joined.retries).toBe(0);
    expect(server.gateway.tunnel.sessions().map((session) => session.nodeName)).toContain(nodeName);
    joined.tunnel?.terminate();
    if (era === "newest") expect(joined.apiServers).toEqual(server.cluster.addresses);
    server.cluster.nodes.set(nodeName, { metadata: { name: nodeName, uid: "1" } });
    const back = await joinReplayAgent({ ...options(), nodePassword: joined.nodePassword, files: joined.files });
    expect(back.retries).toBe(0);
    if (era === "newest") expect(back.files["client-kubelet.key"]).toBe(joined.files["client-kubelet.key"]);
  });

  test("another host cannot take its name", async () => {
    const refusals: unknown[] = [];
    const given = new AbortController();
    const stranger = joinReplayAgent({
      ...options(),
      signal: given.signal,
      retryMs: () => 0,
      onRetry: (error) => {
        refusals.push(error);
        given.abort();
      },
    });
    await expect(stranger).rejects.toThrow();
    expect(refusals[0]).toMatchObject({ status: 403, message: expect.stringContaining(`node '${nodeName}'`) });
  });

  test("its certificates satisfy openssl, each for its purpose", async () => {
    agentDirectory = join(directory, nodeName);
    await writeAgentDirectory(agentDirectory, server.url, joined.files);
    const verify = (ca: string, purpose: string, file: string) =>
      run("openssl", ["verify", "-CAfile", join(agentDirectory, ca), "-purpose", purpose, join(agentDirectory, file)]);
    for (const name of ["client-kubelet", "client-kube-proxy", "client-k3s-controller"]) {
      await verify("client-ca.crt", "sslclient", `${name}.crt`);
    }
    await verify("server-ca.crt", "sslserver", "serving-kubelet.crt");
    await expect(verify("server-ca.crt", "sslclient", "client-kubelet.crt")).rejects.toThrow();
  });

  test.skipIf(lacks("kubectl"))("kubectl works with its kubeconfig", async () => {
    const kubeconfig = join(agentDirectory, "kubelet.kubeconfig");
    const { stdout } = await run(findBinary("kubectl")!, ["--kubeconfig", kubeconfig, "get", "--raw", "/readyz"]);
    expect(stdout).toBe("ok");
  });
});

test("thirty agents at once all join and all come back, with no answer but success", async () => {
  const storm = { server: server.url, token: server.registration.serverToken, agents: 30, probe: server.admin };
  const first = await runStorm(storm);
  expect(first).toMatchObject({ joined: 30, failures: {}, throttledWithoutRetryAfter: 0, readyz: { failures: 0 } });
  expect(Object.keys(first.statuses).filter((status) => status !== "200" && status !== "429")).toEqual([]);
  for (const { nodeName } of first.agents) {
    server.cluster.nodes.set(nodeName, { metadata: { name: nodeName, uid: nodeName } });
  }
  const again = await runStorm({ ...storm, returning: first.agents });
  expect(again).toMatchObject({ joined: 30, failures: {}, retries: 0, readyz: { failures: 0 } });
}, 120_000);
