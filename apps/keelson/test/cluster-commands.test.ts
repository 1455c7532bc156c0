import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "@keelson/conformance";
import { createKubeClient, type KubeObject, resources } from "@keelson/kube-client";
import { withDefaults } from "@keelson/service";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkCommand, rotateCaCommand, rotateCommand as rotateCertificates } from "../src/certificate/commands.ts";
import type { CommandModule } from "../src/cli/command.ts";
import { readClusterAccess } from "../src/cluster/kubeconfig.ts";
import { listCommand as listNodes, releaseCommand } from "../src/node/commands.ts";
import { Server } from "../src/server/compose.ts";
import type { ServerConfig } from "../src/server/config.ts";
import { askHost } from "../src/status/ask-status.ts";
import { createCommand, deleteCommand, generateCommand, listCommand, rotateCommand } from "../src/token/commands.ts";
import { configOf, runCommand } from "./given.ts";

let dataDir: string;
let url: string;
let config: ServerConfig;
let server: Server;

/** Runs a command against the server and answers what it printed. */
async function run(module: CommandModule, options: Record<string, string> = {}, ...args: string[]): Promise<string> {
  const given = { "data-dir": dataDir, ...("server" in module.options ? { server: url } : {}), ...options };
  const known = Object.fromEntries(Object.entries(given).filter(([name]) => name in module.options));
  return (await runCommand(module, known, args)).text;
}

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "keelson-commands-"));
  const port = await freePort();
  url = `https://127.0.0.1:${port}`;
  const flags = {
    "data-dir": dataDir,
    "https-listen-port": String(port),
    "bind-address": "127.0.0.1",
    "node-name": "server-1",
    "node-ip": "127.0.0.1",
    "datastore-listen-address": "",
    "disable-agent": "true",
    token: "first-secret",
  };
  config = await configOf(flags);
  server = new Server(config, withDefaults(), () => {});
  await server.start();
});

afterAll(async () => {
  await server.stop();
  await rm(dataDir, { recursive: true, force: true });
});

describe("keelson token", () => {
  it("creates, lists and deletes bootstrap tokens", async () => {
    const created = await run(createCommand, { ttl: "1h", description: "rack 7" }, "abcdef.0123456789abcdef");
    expect(created).toMatch(/^K10[0-9a-f]{64}::abcdef\.0123456789abcdef$/);
    const [head, row] = (await run(listCommand)).split("\n");
    expect(head).toMatch(/^TOKEN +TTL +EXPIRES +USAGES +DESCRIPTION +EXTRA GROUPS$/);
    expect(row).toMatch(
      /^abcdef +59m +\S+Z +signing,authentication +rack 7 +system:bootstrappers:k3s:default-node-token$/,
    );
    const listed = await run(listCommand, { output: "json" });
    expect(JSON.parse(listed)).toMatchObject([{ id: "abcdef", description: "rack 7" }]);
    expect(listed).not.toContain("0123456789abcdef");
    expect(await run(deleteCommand, {}, "abcdef.0123456789abcdef")).toBe('bootstrap token "abcdef" deleted');
    await expect(run(deleteCommand, {}, "abcdef")).rejects.toMatchObject({ code: "token/not-found" });
    expect(await run(generateCommand)).toMatch(/^[a-z0-9]{6}\.[a-z0-9]{16}$/);
  });

  it("says what is wrong with an option", async () => {
    await expect(run(createCommand, { usages: "flying" })).rejects.toThrow(
      '--usages must be signing or authentication, got "flying"',
    );
    await expect(run(listCommand, { output: "xml" })).rejects.toThrow(
      "--output (from the test) must be one of table, json, yaml",
    );
    await expect(run(listCommand, { kubeconfig: join(dataDir, "none") })).rejects.toMatchObject({
      code: "kubeconfig/unreadable",
    });
    await writeFile(join(dataDir, "broken.yaml"), "current-context: nowhere\n");
    await expect(run(listCommand, { kubeconfig: join(dataDir, "broken.yaml") })).rejects.toThrow(
      'has no entry "nowhere" in contexts',
    );
  });

  it("rotates the server token without a restart", async () => {
    await expect(run(rotateCommand, { token: "wrong-secret" })).rejects.toMatchObject({
      code: "server/refused",
      status: 401,
    });
    await expect(run(rotateCommand, { "new-token": "abc" })).rejects.toThrow("a token needs at least 8 characters");
    await run(rotateCommand, { "new-token": "second-secret" });
    expect(await readFile(join(dataDir, "server/token"), "utf8")).toMatch(/::server:second-secret\n$/);
    await expect(run(rotateCommand, { token: "first-secret" })).rejects.toMatchObject({ status: 401 });
  });
});

it("a second server on the same data folder ends before it touches anything of the first", async () => {
  const second = new Server({ ...config, httpsPort: await freePort() }, withDefaults(), () => {});
  await expect(second.start()).rejects.toThrow(`process ${process.pid} is at work in ${join(dataDir, "server")}`);
  await second.stop();
  await run(listNodes);
  expect(await askHost(dataDir)).toMatchObject({ server: { state: "running" } });
});

it("a network that cannot be read is refused before anything starts", async () => {
  const values = { ...config.values, "service-cidr": ["10.43.0.0"] };
  const other = new Server({ ...config, dataDir: join(dataDir, "other"), values }, withDefaults(), () => {});
  await expect(other.start()).rejects.toMatchObject({ code: "config/invalid" });
  await other.stop();
});

describe("keelson node", () => {
  it("lists the names that are taken and releases one", async () => {
    const token = await readFile(join(dataDir, "server/token"), "utf8");
    await joinAs("agent-1", token.trim().split(":").at(-1)!);
    expect(await run(listNodes)).toMatch(/^NAME +NODE +AGE\nagent-1 +<none> +\d+s$/);
    expect(await run(releaseCommand, {}, "agent-1")).toContain('node name "agent-1" released');
    await expect(run(releaseCommand, {}, "agent-1")).rejects.toMatchObject({ code: "node/not-registered" });
  });
});

describe("keelson certificate", () => {
  it("shows what is on disk, and renews it while the server runs", async () => {
    const file = join(dataDir, "server/tls/client-scheduler.crt");
    const before = await readFile(file, "utf8");
    expect(await run(checkCommand)).toMatch(
      /server\/tls\/client-scheduler\.crt +CN=system:kube-scheduler +client +\S+Z +364d +ok/,
    );
    await run(rotateCertificates, {}, "client-scheduler");
    await expect.poll(() => readFile(file, "utf8"), { timeout: 10_000 }).not.toBe(before);
    await expect(run(rotateCertificates, {}, "nonsense")).rejects.toMatchObject({ code: "certificate/unknown" });
  });

  it("breaks no watch when every certificate is renewed", async () => {
    const { server: address, tls } = await readClusterAccess(undefined, dataDir);
    const client = createKubeClient({ server: address, tls });
    const abort = new AbortController();
    // One plain watch, which ends with its connection: nothing here would open it again.
    const seen = (async () => {
      const events = client.watch(resources.configMaps, { namespace: "default", signal: abort.signal });
      for await (const { type, object } of events) if (object.metadata.name === "after-renewal") return type;
      return "the watch ended";
    })();
    try {
      const kubeconfig = await readFile(join(dataDir, "server/cred/keelson.yaml"), "utf8");
      await run(rotateCertificates);
      await expect
        .poll(() => readFile(join(dataDir, "server/cred/keelson.yaml"), "utf8"), { timeout: 10_000 })
        .not.toBe(kubeconfig);
      await client.create(resources.configMaps, { metadata: { name: "after-renewal", namespace: "default" } });
      expect(await seen).toBe("ADDED");
    } finally {
      abort.abort();
      client.close();
    }
  });

  it("shows the public port's certificate as a Secret, where K3s has it", async () => {
    const { server: address, tls } = await readClusterAccess(undefined, dataDir);
    const client = createKubeClient({ server: address, tls });
    try {
      const find = () => client.get<KubeObject & { type?: string }>(resources.secrets, "k3s-serving", "kube-system");
      await expect.poll(find).toMatchObject({
        type: "kubernetes.io/tls",
        metadata: { annotations: { "listener.cattle.io/cn-localhost": "localhost" } },
      });
    } finally {
      client.close();
    }
  });

  it("replaces the CAs under a running server, whose clients stay", async () => {
    const before = await readFile(join(dataDir, "server/tls/server-ca.crt"), "utf8");
    await run(rotateCaCommand);
    const after = await readFile(join(dataDir, "server/tls/server-ca.crt"), "utf8");
    expect(after).not.toBe(before);
    // The kubeconfig of before still works: old and new vouch for each other.
    expect(await run(listCommand)).toMatch(/^TOKEN/);
  });
});

/** Registers a node name as an agent does. */
async function joinAs(nodeName: string, password: string): Promise<void> {
  const ca = await readFile(join(dataDir, "server/tls/server-ca.crt"), "utf8");
  await new Promise<void>((resolve, reject) => {
    const headers = { "k3s-node-name": nodeName, "k3s-node-password": "a-node-password" };
    const req = request(
      new URL("/v1-k3s/client-kubelet.crt", url),
      { ca, auth: `node:${password}`, headers },
      (res) => {
        res.resume();
        res.on("end", () => (res.statusCode === 200 ? resolve() : reject(new Error(`status ${res.statusCode}`))));
      },
    );
    req.on("error", reject);
    req.end();
  });
}
