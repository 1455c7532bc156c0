import { execFile, execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
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

describe.skipIf(inject("noEngine") !== "")("docker compose up", () => {
  const [command, ...prefix] = findCompose();
  let directory: string;

  async function compose(...args: string[]): Promise<string> {
    const { stdout } = await run(command, [...prefix, ...project, ...args], { cwd: root, env });
    return stdout;
  }

  async function kubectl(...args: string[]): Promise<string> {
    const { stdout } = await run("kubectl", [
      "--kubeconfig",
      join(directory, "kubeconfig"),
      "--request-timeout=5s",
      ...args,
    ]);
    return stdout;
  }

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "keelson-compose-"));
    await compose("down", "-v");
  });

  afterAll(async () => {
    await compose("down", "-v");
    await rm(directory, { recursive: true });
  });

  test.each(["postgres", "mysql", "etcd", "embedded-etcd", "sqlite", "upstream"])(
    "profile %s is valid",
    async (profile) => {
      await compose("--profile", profile, "config", "--quiet");
    },
  );

  test("brings a highly available cluster with Ready nodes within a minute", async () => {
    const startedAtMs = Date.now();
    await compose("up", "--detach", "--no-build");
    const script = ["node", "/app/deploy/image/kubeconfig.js", `https://127.0.0.1:${port}`];
    await writeFile(join(directory, "kubeconfig"), await compose("exec", "-T", "registration", ...script), {
      mode: 0o600,
    });
    await expect
      .poll(() => kubectl("get", "nodes", "--no-headers").catch(String), { timeout: 60_000, interval: 500 })
      .toMatch(/^(\S+\s+Ready\s.*\n){2}$/);
    const tookMs = Date.now() - startedAtMs;
    console.log(`docker compose up: Ready nodes after ${tookMs} ms`);
    expect(tookMs).toBeLessThanOrEqual(60_000);
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
});
