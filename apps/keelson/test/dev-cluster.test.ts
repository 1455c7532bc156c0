import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { freePorts, lacks, requireBinary } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const launcher = resolve(import.meta.dirname, "../bin/keelson.js");
const execute = promisify(execFile);

/** What a new user does, with the programs a new user has: `keelson dev`, kubectl, etcdctl, a second agent. */
describe.skipIf(lacks("kubectl", "etcdctl"))("a local cluster as a new user meets it", () => {
  let directory: string;
  let ports: { https: number; lb: number; etcd: number };
  let dev: Running;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "keelson-dev-"));
    const [https, lb, etcd] = await freePorts(3);
    ports = { https: https!, lb: lb!, etcd: etcd! };
    dev = startDev();
    await dev.prints("Ctrl-C stops it.");
  }, 60_000);

  afterAll(async () => {
    await dev.stop("SIGINT");
    await rm(directory, { recursive: true, force: true });
  });

  const startDev = (): Running =>
    new Running([
      "dev",
      `--data-dir=${directory}`,
      `--https-listen-port=${ports.https}`,
      `--lb-server-port=${ports.lb}`,
      `--datastore-listen-port=${ports.etcd}`,
    ]);

  const kubectl = async (...args: string[]): Promise<string> => {
    const { stdout } = await execute(requireBinary("kubectl"), [
      "--kubeconfig",
      join(directory, "kubeconfig.yaml"),
      ...args,
    ]);
    return stdout;
  };

  const startAgent = async (name: string, folder: string, ...more: string[]): Promise<Running> => {
    const [lb] = await freePorts(1);
    const token = (await readFile(join(directory, "server-1", "server", "token"), "utf8")).trim();
    const home = join(directory, folder);
    const flags = [`--data-dir=${home}`, `--node-name=${name}`, "--node-ip=127.0.0.1", `--lb-server-port=${lb}`];
    const server = `--server=https://127.0.0.1:${ports.https}`;
    return new Running(["agent", server, ...flags, `--node-password-file=${join(home, "password")}`, ...more], {
      K3S_TOKEN: token,
    });
  };

  it("shows every step and says what to try", () => {
    for (const step of ["certificates", "datastore", "api", "registration", "gateway", "agent", "tunnel", "node"]) {
      expect(dev.output).toMatch(new RegExp(`\\d s +${step} `));
    }
    expect(dev.output).toContain(`export KUBECONFIG=${join(directory, "kubeconfig.yaml")}`);
  });

  it("serves kubectl, directly and through the agent's load balancer", async () => {
    expect(await kubectl("get", "nodes", "-o", "wide")).toMatch(/agent-1 +Ready .*127\.0\.0\.1/);
    expect(await kubectl("--server", `https://127.0.0.1:${ports.lb}`, "get", "nodes")).toMatch(/agent-1 +Ready/);
    expect(await kubectl("-n", "kube-system", "get", "secret", "agent-1.node-password.k3s", "-o", "yaml")).toContain(
      "type: k3s.cattle.io/node-password",
    );
    expect(await kubectl("get", "endpoints", "kubernetes")).toContain(`127.0.0.1:${ports.https}`);
    expect(await kubectl("create", "configmap", "a", "--from-literal=x=1")).toBe("configmap/a created\n");
    expect(await kubectl("label", "configmap", "a", "k=v")).toBe("configmap/a labeled\n");
    expect(await kubectl("get", "cm", "-l", "k=v", "-o", "name")).toBe("configmap/a\n");
    expect(await kubectl("delete", "configmap", "a")).toContain("deleted");
    expect(await kubectl("get", "--raw", "/readyz?verbose")).toContain("[+]etcd ok");
    expect(await kubectl("api-resources", "-o", "name")).toContain("endpointslices.discovery.k8s.io");
  }, 60_000);

  it("shows its objects to etcdctl", async () => {
    const tls = join(directory, "server-1", "server", "tls", "etcd");
    const { stdout } = await execute(
      requireBinary("etcdctl"),
      [
        `--endpoints=https://127.0.0.1:${ports.etcd}`,
        `--cacert=${join(tls, "server-ca.crt")}`,
        `--cert=${join(tls, "client.crt")}`,
        `--key=${join(tls, "client.key")}`,
        ...["get", "--prefix", "/registry/", "--keys-only"],
      ],
      { env: { ...process.env, ETCDCTL_API: "3" } },
    );
    expect(stdout).toContain("/registry/minions/agent-1\n");
    expect(stdout).toContain("/registry/secrets/kube-system/agent-1.node-password.k3s\n");
  });

  it("refuses a second host with a name that is taken, until the name is released", async () => {
    const first = await startAgent("twin", "twin-a");
    await first.prints("node is registered and ready");
    await first.stop("SIGTERM");
    const second = await startAgent("twin", "twin-b");
    await second.prints("Secret kube-system/twin.node-password.k3s");
    expect(second.output).toContain("kubectl delete node twin");
    await kubectl("delete", "node", "twin");
    await second.prints("node is registered and ready");
    await second.stop("SIGTERM");
    const third = await startAgent("twin", "twin-c", "--with-node-id");
    await third.prints("node is registered and ready");
    expect(await kubectl("get", "nodes", "-o", "name")).toMatch(/node\/twin-[0-9a-f]{8}/);
    await third.stop("SIGTERM");
  }, 60_000);

  it("says in one sentence that a port is busy, and ends with exit code 1", async () => {
    const squatter = createServer();
    await new Promise<void>((done) => squatter.listen(0, "127.0.0.1", done));
    const { port } = squatter.address() as { port: number };
    const other = new Running([
      "dev",
      `--data-dir=${join(directory, "busy")}`,
      `--https-listen-port=${port}`,
      "--datastore-listen-port=0",
    ]);
    expect(await other.ended).toBe(1);
    expect(other.output).toMatch(/keelson: server-1: 127\.0\.0\.1:\d+ is in use by another process/);
    expect(other.output).not.toMatch(/\n\s+at /);
    await new Promise((done) => squatter.close(done));
  }, 60_000);

  it("resumes the same cluster, and loses nothing it acknowledged to kill -9", async () => {
    const server = (await kubectl("get", "namespace", "default", "-o", "jsonpath={.metadata.uid}")).trim();
    const acknowledged: string[] = [];
    let isDown = false;
    const writer = (async () => {
      for (let index = 0; !isDown && index < 200; index++) {
        await kubectl("create", "configmap", `k${index}`, "--from-literal=x=1").then(
          () => acknowledged.push(`configmap/k${index}`),
          () => {
            isDown = true;
          },
        );
      }
    })();
    await new Promise((done) => setTimeout(done, 1_500));
    await killServer(directory);
    await writer;
    await dev.ended;
    expect(acknowledged.length).toBeGreaterThan(0);
    dev = startDev();
    await dev.prints("Ctrl-C stops it.");
    const present = new Set((await kubectl("get", "cm", "-o", "name")).split("\n"));
    expect(acknowledged.filter((name) => !present.has(name))).toEqual([]);
    expect((await kubectl("get", "namespace", "default", "-o", "jsonpath={.metadata.uid}")).trim()).toBe(server);
  }, 90_000);
});

describe.skipIf(lacks("kubectl", "etcd"))("three servers on this machine", () => {
  it("come back together: none of them has a quorum by itself", async () => {
    const directory = await mkdtemp(join(tmpdir(), "keelson-dev-"));
    const [https, lb] = await freePorts(2);
    // Nine ports in a row, below those that tests are given.
    const etcd = 12_000 + 10 * randomInt(290);
    const start = (): Running =>
      new Running([
        ...["dev", "--servers=3", "--agents=1", `--data-dir=${directory}`, `--https-listen-port=${https}`],
        ...[`--lb-server-port=${lb}`, `--datastore-listen-port=${etcd}`],
      ]);
    const kubectl = (...args: string[]) =>
      execute(requireBinary("kubectl"), ["--kubeconfig", join(directory, "kubeconfig.yaml"), ...args]);
    try {
      const first = start();
      await first.prints("Ctrl-C stops it.");
      await kubectl("create", "configmap", "kept");
      await first.stop("SIGINT");
      const second = start();
      await second.prints("Ctrl-C stops it.");
      expect((await kubectl("get", "configmap", "kept", "-o", "name")).stdout.trim()).toBe("configmap/kept");
      await second.stop("SIGINT");
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }, 120_000);
});

/** Ends the server process of the cluster in `directory` with SIGKILL. */
async function killServer(directory: string): Promise<void> {
  const { stdout } = await execute("pgrep", ["-f", `keelson.js server --data-dir=${directory}/`]);
  for (const pid of stdout.trim().split("\n")) process.kill(Number(pid), "SIGKILL");
}

/** A keelson process and what it printed so far. */
class Running {
  output = "";
  /** Exit code, null after a signal. */
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;
  readonly #waiting: { text: string; done: () => void }[] = [];

  constructor(args: string[], env: Record<string, string> = {}) {
    this.#child = spawn(process.execPath, [launcher, ...args], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.output += chunk.toString();
        for (const { text, done } of this.#waiting) if (this.output.includes(text)) done();
      });
    }
    this.ended = new Promise((done) => this.#child.on("close", (code) => done(code)));
  }

  /** Resolves once the text has been printed; rejects with all output when the process ends before. */
  async prints(text: string): Promise<void> {
    if (this.output.includes(text)) return;
    const seen = new Promise<void>((done) => this.#waiting.push({ text, done }));
    const died = this.ended.then((code) => {
      throw new Error(`ended with ${code} before it printed "${text}":\n${this.output}`);
    });
    await Promise.race([seen, died]);
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill(signal);
    await this.ended;
  }
}
