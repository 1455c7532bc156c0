import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "@keelson/conformance";
import { withDefaults } from "@keelson/service";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { removeCommand } from "../../src/etcd/member-commands.ts";
import { Server } from "../../src/server/compose.ts";
import type { HostStatus } from "../../src/status/ask-status.ts";
import { statusCommand } from "../../src/status/command.ts";
import { configOf, runCommand } from "../given.ts";
import { hasProgram } from "./etcd-fixture.ts";

interface Host {
  name: string;
  dataDir: string;
  https: number;
  client: number;
  peer: number;
  metrics: number;
}

const run = async (...what: Parameters<typeof runCommand>): Promise<string> => (await runCommand(...what)).text;

describe.skipIf(!hasProgram("etcd"))("keelson status with embedded etcd", { timeout: 60_000 }, () => {
  let directory: string;
  const hosts: Host[] = [];
  const servers: Server[] = [];

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "keelson-etcd-status-"));
    for (const name of ["server-1", "server-2"]) {
      const [https, client, peer, metrics] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
      hosts.push({ name, dataDir: join(directory, name), https, client, peer, metrics });
    }
    servers[0] = await create(hosts[0]!, { "cluster-init": "true" });
    await servers[0].start();
    servers[1] = await create(hosts[1]!, { server: `https://127.0.0.1:${hosts[0]!.https}` });
    await servers[1].start();
  }, 60_000);

  afterAll(async () => {
    await Promise.all(servers.map((server) => server.stop()));
    await rm(directory, { recursive: true, force: true });
  });

  async function create(host: Host, flags: Record<string, string>): Promise<Server> {
    const given = {
      "data-dir": host.dataDir,
      "https-listen-port": String(host.https),
      "bind-address": "127.0.0.1",
      "node-ip": "127.0.0.1",
      "node-name": host.name,
      "disable-agent": "true",
      "etcd-client-port": String(host.client),
      "etcd-peer-port": String(host.peer),
      "etcd-metrics-port": String(host.metrics),
      token: "a-cluster-secret",
      ...flags,
    };
    const config = await configOf(given);
    return new Server(config, withDefaults(), () => {});
  }

  const statusOf = async (host: Host): Promise<HostStatus["server"]> =>
    (JSON.parse(await run(statusCommand, { "data-dir": host.dataDir, output: "json" })) as HostStatus).server;
  const problemsOf = async (host: Host): Promise<string[]> =>
    ((await statusOf(host))?.problems ?? []).map(({ what, advice }) => `${what} -> ${advice}`);

  test("names the members, who leads, and that there is a quorum", async () => {
    await expect
      .poll(() => statusOf(hosts[0]!), { timeout: 15_000, interval: 500 })
      .toMatchObject({ etcd: { state: "ready", hasQuorum: true, members: [{ answers: true }, { answers: true }] } });
    const text = await run(statusCommand, { "data-dir": hosts[0]!.dataDir });
    expect(text).toMatch(/\n {2}etcd +quorum for \d+s: 2 of 2 voters answer\n/);
    expect(text).toMatch(/\nETCD MEMBER +STATE +FOR +PEER\n/);
    expect(text).toMatch(/\nserver-1-\w{8} +leader, this server +\d+s +https:\/\/127\.0\.0\.1:\d+\n/);
    expect(text).toMatch(/\nserver-2-\w{8} +voter +\d+s/);
  });

  test("says to a server whose member was removed how it comes back, and nothing that does harm", async () => {
    const flags = { "data-dir": hosts[0]!.dataDir, "etcd-client-port": String(hosts[0]!.client), force: "true" };
    await run(removeCommand, flags, ["server-2"]);
    await expect
      .poll(() => problemsOf(hosts[1]!), { timeout: 20_000, interval: 500 })
      .toEqual([expect.stringMatching(/^this server was removed from the etcd cluster .* -> .*--server https:/)]);
    expect(await statusOf(hosts[1]!)).toMatchObject({ etcd: { state: "removed" } });
  });

  test("names who is missing when there is no quorum, while a server waits for it too", async () => {
    await servers[1]!.stop();
    servers[1] = await create(hosts[1]!, { server: `https://127.0.0.1:${hosts[0]!.https}` });
    await servers[1].start();
    await servers[0]!.stop();
    await expect
      .poll(() => problemsOf(hosts[1]!), { timeout: 20_000, interval: 500 })
      .toContainEqual(expect.stringMatching(/^etcd has no quorum.*no answer from server-1-\w{8} \(https:.* -> start/));
    await servers[1].stop();
    servers[1] = await create(hosts[1]!, {});
    const started = servers[1].start().catch((error: Error) => error.message);
    await expect
      .poll(() => problemsOf(hosts[1]!).catch(() => []), { timeout: 30_000, interval: 500 })
      .toContainEqual(expect.stringMatching(/^etcd has no quorum.*no answer from server-1-\w{8} \(https:.* -> start/));
    await servers[1].stop();
    await started;
  });
});
