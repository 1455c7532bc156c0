import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { freePort } from "@keelson/conformance";
import { resolveOptions, silentLogger, systemClock } from "@keelson/service";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { agentConfig, agentOptions } from "../src/index.ts";
import { NodeRuntime } from "../src/kubelet/node-runtime.ts";
import { AgentLayout } from "../src/layout.ts";
import { FakeServer } from "./support/fake-server.ts";
import { startAgent, type TestAgent } from "./support/start-agent.ts";

let server: FakeServer;
let directory: string;
let healthzPort: number;

beforeEach(async () => {
  server = await FakeServer.create();
  await server.listen();
  // A kubelet registers its Node itself; the stand-in below does not.
  server.objects.set("/api/v1/nodes/node-a", {
    metadata: { name: "node-a", uid: "uid-1", resourceVersion: "1" },
  });
  directory = await mkdtemp(join(tmpdir(), "keelson-kubelet-"));
  healthzPort = await freePort();
});

afterEach(async () => {
  await server.close();
  await rm(directory, { recursive: true, force: true });
});

/** A program in the kubelet's place: notes how it was started and is healthy. */
async function standIn(path: string): Promise<void> {
  const program = `#!${process.execPath}
const fs = require("node:fs");
if (process.argv[2] === "--version") {
  console.log("Kubernetes v1.23.17");
  process.exit();
}
fs.appendFileSync(${JSON.stringify(join(directory, "starts"))}, JSON.stringify({ pid: process.pid, args: process.argv.slice(2) }) + "\\n");
console.error("E1122 03:04:05.000000 1 server.go:1] the stand-in starts");
require("node:http").createServer((req, res) => res.end("ok")).listen(${healthzPort}, "127.0.0.1");
`;
  await writeFile(path, program);
  await chmod(path, 0o755);
}

async function starts(): Promise<{ pid: number; args: string[] }[]> {
  const text = await readFile(join(directory, "starts"), "utf8").catch(() => "");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as { pid: number; args: string[] });
}

async function agentWith(path: string): Promise<TestAgent> {
  return startAgent({
    servers: [server.url],
    token: server.token,
    nodeLabels: { zone: "a" },
    kubelet: {
      path,
      args: ["v=4", `healthz-port=${healthzPort}`],
      runtimeEndpoint: join(directory, "containerd.sock"),
      rootDir: directory,
    },
  });
}

describe("the container runtime", () => {
  const originalPath = process.env.PATH;

  afterEach(() => {
    process.env.PATH = originalPath;
  });

  /** A runtime with a stand-in kubelet that tells its flags, and a stand-in containerd in PATH that makes its socket. */
  async function runtime(hostSocket: string): Promise<{ runtime: NodeRuntime; flags: string[]; layout: AgentLayout }> {
    await standIn(join(directory, "kubelet"));
    const containerd = join(directory, "containerd");
    const program = `#!${process.execPath}
const at = process.argv[process.argv.indexOf("--address") + 1];
require("node:net").createServer().listen(at);
`;
    await writeFile(containerd, program);
    await chmod(containerd, 0o755);
    process.env.PATH = `${directory}${delimiter}${originalPath}`;
    const layout = new AgentLayout(directory);
    const flags: string[] = [];
    const created = new NodeRuntime(
      {
        kubeletPath: join(directory, "kubelet"),
        kubeletArguments: (endpoint, minorVersion) => {
          flags.push(endpoint, String(minorVersion));
          return [];
        },
        runtimeEndpoint: undefined,
        hostSocket,
        healthzPort,
        layout,
      },
      { log: silentLogger, clock: systemClock },
    );
    await created.start();
    return { runtime: created, flags, layout };
  }

  test("is the host's containerd where one runs", async () => {
    const socket = join(directory, "host.sock");
    await writeFile(socket, "");
    const { runtime: running, flags } = await runtime(socket);
    await expect.poll(() => running.status.state).toBe("ready");
    expect(flags).toEqual([`unix://${socket}`, "23"]);
    await running.stop();
  });

  test("is a containerd of the agent's own where the host has none; it ends with the agent", async () => {
    const { runtime: running, flags, layout } = await runtime(join(directory, "no.sock"));
    await expect.poll(() => running.status.state, { timeout: 10_000 }).toBe("ready");
    const own = join(layout.root, "containerd", "containerd.sock");
    expect(flags).toEqual([`unix://${own}`, "23"]);
    expect(await readFile(join(layout.root, "containerd.pid"), "utf8")).toMatch(/^\d+ \d+\n$/);
    await running.stop();
    await expect(readFile(join(layout.root, "containerd.pid"))).rejects.toThrow("ENOENT");
  });
});

test("a kubelet in PATH is used unless told otherwise", async () => {
  const originalPath = process.env.PATH;
  await standIn(join(directory, "kubelet"));
  process.env.PATH = directory;
  try {
    const kubeletOf = (...flags: [string, string[]][]) => {
      const values = new Map<string, string[]>([["server", ["https://127.0.0.1"]], ["token", ["a-secret"]], ...flags]);
      return agentConfig(resolveOptions(agentOptions, [{ from: "the test", values }])).kubelet;
    };
    expect(kubeletOf()).toMatchObject({ path: join(directory, "kubelet"), args: [] });
    const bound = kubeletOf(["bind-address", ["10.0.0.7"]], ["kubelet-arg", ["v=2"]]);
    expect(bound?.args).toEqual(["address=10.0.0.7", "v=2"]);
    expect(kubeletOf(["kubelet-path", ["/opt/kubelet"]], ["kubelet-arg", ["v=2", "a=b,c"]])).toMatchObject({
      path: "/opt/kubelet",
      args: ["v=2", "a=b,c"],
    });
    expect(kubeletOf(["kubelet-path", [""]])).toBeUndefined();
  } finally {
    process.env.PATH = originalPath;
  }
});

describe("a kubelet that the agent runs", () => {
  test("gets its flags, is missed when it hangs, is started again when it dies, and ends with the agent", async () => {
    const path = join(directory, "kubelet");
    await standIn(path);
    const started = await agentWith(path);
    const { agent, dataDir } = started;
    try {
      await agent.ready;
      await expect.poll(() => agent.status().node).toMatchObject({ keeper: "kubelet", state: "ready", restarts: 0 });
      const [first] = await starts();
      expect(first?.args).toEqual(
        expect.arrayContaining([
          `--kubeconfig=${join(dataDir, "agent", "kubelet.kubeconfig")}`,
          `--container-runtime-endpoint=unix://${join(directory, "containerd.sock")}`,
          `--healthz-port=${healthzPort}`,
          "--hostname-override=node-a",
          "--node-labels=zone=a",
          `--tls-cert-file=${join(dataDir, "agent", "serving-kubelet.crt")}`,
          "--v=4",
        ]),
      );
      // What a kubelet reads at its start is there before it starts.
      expect(await readFile(join(dataDir, "agent", "kubelet.kubeconfig"), "utf8")).toContain("client-kubelet.crt");

      // A kubelet leaves the labels of a Node alone that it finds; they are the user's of today.
      expect(server.objects.get("/api/v1/nodes/node-a")).toMatchObject({ metadata: { labels: { zone: "a" } } });

      process.kill(first!.pid, "SIGSTOP");
      await expect.poll(() => agent.status().node, { timeout: 20_000 }).toMatchObject({ state: "failing" });
      expect(agent.status().problems).toMatchObject([{ what: expect.stringContaining("does not answer") }]);
      process.kill(first!.pid, "SIGCONT");
      await expect.poll(() => agent.status().node, { timeout: 20_000 }).toMatchObject({ state: "ready", restarts: 0 });

      process.kill(first!.pid, "SIGKILL");
      await expect.poll(() => agent.status().node.reason).toMatch("SIGKILL");
      const [problem] = agent.status().problems;
      expect(problem).toMatchObject({
        what: expect.stringMatching(/^the kubelet does not work .*it ended \(SIGKILL\).*the stand-in starts/),
        since: expect.any(String),
      });
      await expect.poll(() => agent.status().node, { timeout: 10_000 }).toMatchObject({ state: "ready", restarts: 1 });
      expect(agent.status().problems).toEqual([]);
    } finally {
      await started[Symbol.asyncDispose]();
    }
    const last = (await starts()).at(-1)!;
    expect(() => process.kill(last.pid, 0)).toThrow("ESRCH");
  });

  test("may be installed later: until then status says that it is missing", async () => {
    const path = join(directory, "kubelet");
    await using started = await agentWith(path);
    const { agent } = started;
    await expect.poll(() => agent.status().node.reason).toMatch(/cannot run kubelet: .*ENOENT/);
    expect(agent.status().problems).toMatchObject([{ advice: expect.stringContaining("no pod starts on this node") }]);
    await standIn(path);
    await expect.poll(() => agent.status().node.state, { timeout: 15_000 }).toBe("ready");
    await agent.ready;
  });
});
