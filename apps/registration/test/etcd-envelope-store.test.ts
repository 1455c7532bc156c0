import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { freePort } from "@keelson/conformance";
import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { etcdErrors } from "@keelson/protocol/etcd";
import { describe, expect, it, onTestFinished } from "vitest";
import { createEtcdEnvelopeStore } from "../src/bootstrap/etcd-envelope-store.ts";
import { startRegistration, temporaryFolder } from "./support/fixture.ts";

function hasEtcd(): boolean {
  try {
    execFileSync("etcd", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    if (process.env.KEELSON_REQUIRE_ALL === "1") throw new Error("etcd is not installed");
    console.log("skipped: etcd is not installed");
    return false;
  }
}

/** A real etcd on loopback. */
async function startEtcd(): Promise<string> {
  const folder = await temporaryFolder();
  const client = `http://127.0.0.1:${await freePort()}`;
  const peer = `http://127.0.0.1:${await freePort()}`;
  const child = spawn(
    "etcd",
    [
      ...["--data-dir", join(folder, "data"), "--listen-client-urls", client, "--advertise-client-urls", client],
      ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", `default=${peer}`],
      "--unsafe-no-fsync",
    ],
    { stdio: "ignore" },
  );
  onTestFinished(() => void child.kill("SIGKILL"));
  return client;
}

describe.skipIf(!hasEtcd())("the bootstrap envelope in etcd", () => {
  it("founds, joins and rotates like the one in memory", async () => {
    const endpoint = await startEtcd();
    const client = createEtcdClient({ endpoints: [endpoint], timeoutMs: 2_000 });
    onTestFinished(() => client.close());
    const envelopes = createEtcdEnvelopeStore(client);
    await expect.poll(() => envelopes.list("/").catch(() => undefined), { timeout: 10_000 }).toEqual([]);
    const config = { token: "first-secret", sharedDatastore: true };
    const [first, second] = await Promise.all([
      startRegistration(config, { envelopes }),
      startRegistration(config, { envelopes }),
    ]);
    expect(await second.registration.caBundles()).toEqual(await first.registration.caBundles());
    expect(await first.registration.rotateToken("second-secret")).toMatchObject({ ok: true });
    await expect.poll(() => second.registration.serverToken).toBe(first.registration.serverToken);
    expect(await envelopes.list("/bootstrap/")).toHaveLength(1);
    const [stored] = await envelopes.list("/bootstrap/");
    expect(await envelopes.replace(stored!.key, "stale", stored!.revision - 1)).toBe(false);
    expect(await envelopes.delete(stored!.key, stored!.revision - 1)).toBe(false);
  });
});

it("a watch that was ended goes on with what changed meanwhile", async () => {
  const value = (text: string, modRevision: number) => ({
    ...{ key: Buffer.from("/bootstrap/a"), value: Buffer.from(text) },
    ...{ createRevision: 1, modRevision, version: 1, lease: 0n },
  });
  const values = [value("first", 5), value("second", 9)];
  const starts: (number | undefined)[] = [];
  const client: Pick<EtcdClient, "range" | "watch"> = {
    range: async () => {
      const kv = values.shift()!;
      const header = { clusterId: 1n, memberId: 1n, revision: kv.modRevision, raftTerm: 1 };
      return { header, kvs: [kv], more: false, count: 1 };
    },
    watch: (request, handlers) => {
      starts.push(request.startRevision);
      if (starts.length === 1) handlers.onEnd(etcdErrors.compacted());
      return { cancel() {}, requestProgress() {} };
    },
  };
  const seen: string[] = [];
  const stop = createEtcdEnvelopeStore(client as EtcdClient).watch("/bootstrap/", (text) => seen.push(text));
  onTestFinished(stop);
  await expect.poll(() => starts, { timeout: 5_000 }).toEqual([6, 10]);
  expect(seen).toEqual(["first", "second"]);
});
