import { mkdir, mkdtemp, rm, stat, utimes } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAgent } from "@keelson/agent";
import { freePort } from "@keelson/conformance";
import { withDefaults } from "@keelson/service";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Server } from "../src/server/compose.ts";
import type { HostStatus } from "../src/status/ask-status.ts";
import { statusCommand } from "../src/status/command.ts";
import { serverProblems } from "../src/status/server-problems.ts";
import type { ServerStatus } from "../src/status/server-status.ts";
import { configOf, runCommand } from "./given.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "keelson-status-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const status = (dataDir: string, output = "text") => runCommand(statusCommand, { "data-dir": dataDir, output });

async function hostStatus(dataDir: string): Promise<HostStatus> {
  return JSON.parse((await status(dataDir, "json")).text) as HostStatus;
}

async function startServer(dataDir: string): Promise<{ server: Server; url: string }> {
  const port = await freePort();
  const flags = {
    "data-dir": dataDir,
    "https-listen-port": String(port),
    "bind-address": "127.0.0.1",
    "node-ip": "127.0.0.1",
    "node-name": "server-1",
    "datastore-listen-address": "",
    "disable-agent": "true",
    token: "a-cluster-secret",
  };
  const config = await configOf(flags);
  const server = new Server(config, withDefaults(), () => {});
  await server.start();
  return { server, url: `https://127.0.0.1:${port}` };
}

describe("keelson status", () => {
  it("shows a server and an agent, and what the agent says when its server is gone", { timeout: 60_000 }, async () => {
    const [serverDir, agentDir] = [join(directory, "server"), join(directory, "agent")];
    const { server, url } = await startServer(serverDir);
    const agent = createAgent({
      servers: [url],
      token: "a-cluster-secret",
      dataDir: agentDir,
      nodeName: "node-1",
      nodePasswordFile: join(agentDir, "password"),
      lbPort: 0,
      nodeIps: ["192.0.2.1"],
    });
    await agent.start();
    try {
      await agent.ready;
      const address = new URL(url).host;
      await expect
        .poll(async () => (await hostStatus(serverDir)).server, { timeout: 20_000, interval: 500 })
        .toMatchObject({
          state: "running",
          nodeName: "server-1",
          parts: [{ name: "datastore", working: true }, { name: "Kubernetes API" }, { name: "gateway", working: true }],
          servers: [{ address, own: true, listed: true }],
          tunnels: [{ nodeName: "node-1", peer: "keelson" }],
          problems: [],
        });
      expect((await stat(join(serverDir, "server", "status.sock"))).mode & 0o777).toBe(0o600);
      const ofServer = await status(serverDir);
      expect(ofServer.text).toMatch(/^Server server-1 at https:\S+, up \d+s\n {2}datastore +sqlite\n/);
      expect(ofServer).toMatchObject({ code: 0, text: expect.stringMatching(/node-1 +open[\s\S]*All is well\.$/) });

      await expect.poll(async () => (await status(agentDir)).text, { timeout: 20_000 }).toContain("All is well.");
      const ofAgent = (await status(agentDir)).text;
      expect(ofAgent).toMatch(/cluster +joined for \d+s; token accepted/);
      expect(ofAgent).toMatch(/certificates +4, the first ends in 36\d days/);
      expect(ofAgent).toMatch(/clock +agrees with the servers' within a second/);
      expect(ofAgent).toMatch(new RegExp(`${address} +(active|preferred|recovering) +\\d+s`));

      await server.stop();
      await expect.poll(async () => (await status(agentDir)).text, { timeout: 20_000 }).toContain("no server can be");
      const broken = await status(agentDir);
      expect(broken.code).toBe(1);
      expect(broken.text).toMatch(
        /1\. no server can be reached from this host: .* \(since \d{4}-\d\d-\d\d .* ago\)\n +-> /,
      );
      expect(broken.text).toMatch(new RegExp(`server ${address} is (down: .*ECONNREFUSED|shutting down)`));
      await expect(status(serverDir)).rejects.toMatchObject({ code: "status/stopped" });
    } finally {
      await agent.stop();
      await server.stop();
    }
  });

  it("says since when a killed process is gone, and that a paused one hangs", async () => {
    await mkdir(join(directory, "agent"));
    const path = join(directory, "agent", "status.sock");
    const silent = createServer((socket) => socket.resume());
    await new Promise<void>((resolve) => silent.listen(path, resolve));
    const lastSeen = new Date(Date.now() - 90_000);
    await utimes(path, lastSeen, lastSeen);
    const hanging = await status(directory);
    expect(hanging.code).toBe(1);
    expect(hanging.text).toMatch(/the agent of this host hangs: .*, 9\ds ago\)\n +-> it may be paused/);
    await expect(status(join(directory, "nowhere"))).rejects.toMatchObject({ code: "status/none" });
    await new Promise((resolve) => silent.close(resolve));
    await expect(status(directory)).rejects.toMatchObject({ code: "status/stopped" });
  });

  it("refuses a form that it does not know", async () => {
    await expect(status(directory, "xml")).rejects.toThrow("--output (from the test) must be one of text, json, yaml");
  });
});

describe("what a server says is wrong", () => {
  const nowMs = Date.parse("2026-03-01T12:00:00Z");
  const since = "2026-03-01T11:59:48.000Z";
  const healthy: Omit<ServerStatus, "problems"> = {
    nodeName: "server-1",
    startedAt: "2026-03-01T11:00:00.000Z",
    address: "https://192.0.2.1:6443",
    steps: [{ step: "ready", detail: "", at: "2026-03-01T11:00:01.000Z" }],
    parts: [{ name: "datastore", working: true, since, reason: undefined, roundTripMs: 1 }],
    servers: [],
    tunnels: [],
    nodesWithoutTunnel: [],
    certificates: [],
  };
  const problems = (change: Partial<ServerStatus>): string[] =>
    serverProblems({ ...healthy, ...change }, nowMs).map(({ what, since, advice }) => `${since}: ${what} -> ${advice}`);

  it("nothing, when all is well", () => expect(problems({})).toEqual([]));

  it("a start that waits", () => {
    const steps = [{ step: "certificates", detail: "", at: since }];
    expect(problems({ steps })).toEqual([
      expect.stringMatching(/^2026\S+: this server is still starting: .*certificates/),
    ]);
    expect(problems({ steps, startedAt: since })).toHaveLength(1);
    expect(problems({ steps, startedAt: "2026-03-01T11:59:55.000Z" })).toEqual([]);
  });

  it("a datastore, a peer, its own lease, a node without tunnel, a certificate", () => {
    const peer = { own: false, listed: true, answers: false, since, reason: "connect ECONNREFUSED 192.0.2.2:6443" };
    expect(
      problems({
        parts: [{ name: "datastore", working: false, since, reason: "connection refused", roundTripMs: undefined }],
        servers: [
          { address: "192.0.2.1:6443", own: true, listed: false, answers: true, since, reason: "" },
          { address: "192.0.2.2:6443", ...peer },
        ],
        nodesWithoutTunnel: [{ nodeName: "node-1", since, reason: "nothing heard for 15 s" }],
        certificates: [
          { file: "server/tls/x.crt", isCa: false, notAfter: since, daysLeft: -1, status: "expired" },
          { file: "server/tls/ca.crt", isCa: true, notAfter: since, daysLeft: 80, status: "expiring" },
          { file: "server/tls/y.crt", isCa: false, notAfter: since, daysLeft: 100, status: "expiring" },
        ],
      }),
    ).toEqual([
      expect.stringMatching(/^2026\S+ this host is cut off: .* -> check this host's network first/),
      expect.stringMatching(/the datastore does not work: connection refused -> .*check that the database runs/),
      expect.stringMatching(/this server \(192.0.2.1:6443\) is not on the cluster's list/),
      expect.stringMatching(/server 192.0.2.2:6443 is down: .* -> its host is up but no server runs there/),
      expect.stringMatching(
        /node node-1 has no tunnel to this server: .* \(its last one ended: nothing heard for 15 s\)/,
      ),
      expect.stringMatching(/server\/tls\/x.crt has expired -> renew it/),
      expect.stringMatching(/server\/tls\/ca.crt ends in 80 days -> replace the certificate authorities/),
    ]);
  });

  it("a member of etcd that is gone, a lost quorum, and that this server was removed", () => {
    const member = {
      id: "a1",
      name: "server-1-0123abcd",
      peerUrls: ["https://192.0.2.1:2380"],
      clientUrls: [],
      isLearner: false,
      isStarted: true,
      answers: true,
      isLeader: true,
      isSelf: true,
      since,
    };
    const other = { ...member, id: "b2", name: "server-2-0123abcd", answers: false, isLeader: false, isSelf: false };
    const etcd = { memberName: member.name, state: "ready", hasQuorum: true, since, members: [member, other] };
    const parts = [{ name: "datastore", working: false, since, reason: "no leader", roundTripMs: undefined }];
    const nodesWithoutTunnel = [{ nodeName: "node-1", since }];
    expect(problems({ etcd })).toEqual([
      expect.stringMatching(
        /etcd member server-2-0123abcd .* -> .*kubectl delete node server-2, or keelson etcd member/,
      ),
    ]);
    expect(problems({ etcd: { ...etcd, hasQuorum: false }, parts })).toEqual([
      expect.stringMatching(/etcd has no quorum.*no answer from server-2-0123abcd .* -> start these servers/),
    ]);
    expect(problems({ etcd: { ...etcd, state: "removed" }, parts, nodesWithoutTunnel })).toEqual([
      expect.stringMatching(/this server was removed from the etcd cluster/),
    ]);
  });
});
