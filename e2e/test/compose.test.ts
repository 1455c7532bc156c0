import { execFile, execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { keelsonImage } from "../src/images.ts";

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "../..");
const port = "16443";
const env = { ...process.env, KEELSON_IMAGE: keelsonImage, KEELSON_PORT: port };
const project = ["-p", "keelson-e2e-compose"];

/** The Compose that is there: the current plugin, or 1.29 as Debian ships it. */
function findCompose(): [string, ...string[]] {
  try {
    execFileSync("docker", ["compose", "version"], { stdio: "ignore" });
    return ["docker", "compose"];
  } catch {
    return ["docker-compose"];
  }
}

/** Stands where an upstream kube-apiserver image would, in a cluster that is otherwise what Compose makes of it. */
const upstreamImage = "keelson-e2e-kube-apiserver";

describe.skipIf(inject("noEngine") !== "")("docker compose up", () => {
  const [command, ...prefix] = findCompose();
  let directory: string;
  let profile = "postgres";

  async function compose(...args: readonly string[]): Promise<string> {
    const options = { cwd: root, env: { ...env, COMPOSE_PROFILES: profile, KUBE_APISERVER_IMAGE: upstreamImage } };
    return (await run(command, [...prefix, ...project, ...args], options)).stdout;
  }

  async function kubectl(...args: string[]): Promise<string> {
    const kubeconfig = join(directory, "kubeconfig");
    return (await run("kubectl", ["--kubeconfig", kubeconfig, "--request-timeout=5s", ...args])).stdout;
  }

  /** The line of each Node, by its name. */
  async function nodes(): Promise<Map<string, string>> {
    const lines = (await kubectl("get", "nodes", "--no-headers")).trim().split("\n");
    return new Map(lines.map((line) => [line.split(" ")[0]!, line]));
  }

  /**
   * Brings a profile up and resolves, when both agents are Ready, to how long that took in milliseconds. An agent's container
   * that was made anew is another host: the Nodes of those that are `gone` stay, and look Ready until their Leases end.
   */
  async function up(wanted: string, holder: string, gone: readonly string[] = []): Promise<number> {
    profile = wanted;
    const startedAtMs = Date.now();
    await compose("up", "--detach", "--no-build");
    const script = ["node", "/app/deploy/image/kubeconfig.js", `https://127.0.0.1:${port}`];
    const readiness = async (): Promise<string[]> => {
      const kubeconfig = await compose("exec", "-T", holder, ...script);
      await writeFile(join(directory, "kubeconfig"), kubeconfig, { mode: 0o600 });
      const found = await nodes();
      for (const name of gone) found.delete(name);
      return [...found.values()].map((line) => line.split(/\s+/)[1]!);
    };
    await expect.poll(() => readiness().catch(String), { timeout: 60_000, interval: 500 }).toEqual(["Ready", "Ready"]);
    const tookMs = Date.now() - startedAtMs;
    console.log(`docker compose --profile ${profile} up: Ready nodes after ${tookMs} ms`);
    return tookMs;
  }

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "keelson-compose-"));
    await compose("down", "-v", "--remove-orphans");
  });

  afterEach(async ({ task }) => {
    if (task.result?.state === "fail") console.log(await compose("logs", "--tail=20"));
  });

  afterAll(async () => {
    await compose("down", "-v", "--remove-orphans");
    await rm(directory, { recursive: true });
  });

  test("brings a highly available cluster with Ready nodes within a minute", async () => {
    expect(await up("postgres", "registration")).toBeLessThanOrEqual(60_000);
  });

  test("serves while gateways are scaled up and down", async () => {
    const failures: string[] = [];
    let isScaling = true;
    const reader = (async () => {
      while (isScaling) await kubectl("get", "namespaces").catch((error: unknown) => failures.push(String(error)));
    })();
    await compose("up", "--detach", "--no-build", "--scale", "gateway=5");
    await compose("up", "--detach", "--no-build", "--scale", "gateway=2");
    isScaling = false;
    await reader;
    expect(failures).toEqual([]);
  });

  test.each([
    ["mysql", "registration"],
    ["etcd", "registration"],
    ["upstream", "registration"],
    ["sqlite", "server"],
  ])("brings up profile %s", async (next, holder) => {
    await compose("down", "-v", "--remove-orphans");
    if (next === "upstream") await buildUpstream();
    await up(next, holder);
  });

  test("embedded etcd comes back after all of it was stopped, whatever its addresses are then", async () => {
    await compose("down", "-v", "--remove-orphans");
    await up("embedded-etcd", "server-1");
    await kubectl("create", "configmap", "kept");
    const before = [...(await nodes()).keys()];
    await compose("down");
    await up("embedded-etcd", "server-1", before);
    expect((await kubectl("get", "configmap", "kept", "-o", "name")).trim()).toBe("configmap/kept");
  });
});

async function buildUpstream(): Promise<void> {
  const context = resolve(import.meta.dirname, "../src/upstream");
  const args = ["build", "-q", "-t", upstreamImage, "--build-arg", `KEELSON_IMAGE=${keelsonImage}`, context];
  await run("docker", args, { env: { ...process.env, DOCKER_BUILDKIT: "0" } });
}
