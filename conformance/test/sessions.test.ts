import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { alarmActions, alarmTypes, services } from "@keelson/protocol/etcd";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ApiServer, comparedServers, lacks } from "../src/index.ts";

/** Locks and elections whose callers bring no lease, and what a full store makes of them: on etcd and on the adapter. */

const bytes = (text: string): Buffer => Buffer.from(text);

describe.skipIf(lacks("etcd")).each(comparedServers)("on %s", { timeout: 60_000 }, (_, start) => {
  let server: ApiServer;
  let client: EtcdClient;

  beforeAll(async () => {
    server = await start();
    client = createEtcdClient({ endpoints: [server.url] });
  });
  afterAll(async () => {
    client.close();
    await server.close();
  });

  async function leaseOf(key: Uint8Array): Promise<{ id: bigint; grantedTtl: number }> {
    const { kvs } = await client.range({ key });
    const id = kvs[0]!.lease;
    const { grantedTtl } = await client.call(services.lease.timeToLive, { id });
    return { id, grantedTtl: Number(grantedTtl) };
  }

  it("a lock without a lease is held for a minute by one of its own", async () => {
    const { key } = await client.call(services.lock.lock, { name: bytes("mutex") });
    const lease = await leaseOf(key);
    expect(Buffer.from(key).toString()).toBe(`mutex/${lease.id.toString(16)}`);
    expect(lease.grantedTtl).toBe(60);
    await client.call(services.lock.unlock, { key });
    expect((await client.range({ key })).kvs).toEqual([]);
    await expect(client.call(services.lock.lock, { name: bytes("mutex"), lease: 12_345n })).rejects.toThrow(
      "requested lease not found",
    );
  });

  it("so is an office; its holder's key names the lease", async () => {
    const { leader } = await client.call(services.election.campaign, { name: bytes("office"), value: bytes("me") });
    expect((await leaseOf(leader!.key)).id).toBe(leader!.lease);
    await client.call(services.election.resign, { leader });
  });

  it("a relation and a target of newer etcds hold and are equal", async () => {
    const key = bytes("present");
    await client.put({ key, value: bytes("1") });
    const succeeds = async (compare: object): Promise<boolean> =>
      (await client.txn({ compare: [{ key, ...compare }], success: [], failure: [] })).succeeded;
    expect(await succeeds({ target: 0, result: 9, version: 5 })).toBe(true);
    expect(await succeeds({ target: 3, result: 9, value: bytes("2") })).toBe(true);
    expect(await succeeds({ key: bytes("absent"), target: 3, result: 9, value: bytes("2") })).toBe(false);
    expect(await succeeds({ target: 9, result: 0 })).toBe(true);
    expect(await succeeds({ target: 9, result: 1 })).toBe(false);
  });

  it("a full store takes no lock, no candidate and no proclamation", async () => {
    const { leader } = await client.call(services.election.campaign, { name: bytes("full"), value: bytes("me") });
    const lease = leader!.lease;
    const alarm = { memberId: 0n, alarm: alarmTypes.noSpace };
    await client.call(services.maintenance.alarm, { ...alarm, action: alarmActions.activate });
    const full = "mvcc: database space exceeded";
    await expect(client.call(services.lock.lock, { name: bytes("late"), lease })).rejects.toThrow(full);
    await expect(client.call(services.lock.lock, { name: bytes("late") })).rejects.toThrow(full);
    await expect(client.call(services.election.proclaim, { leader, value: bytes("new") })).rejects.toThrow(full);
    await client.call(services.maintenance.alarm, { ...alarm, action: alarmActions.deactivate });
    await client.call(services.election.proclaim, { leader, value: bytes("new") });
  });
});
