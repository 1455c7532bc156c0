import { setTimeout as delay } from "node:timers/promises";
import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { RpcError, services } from "@keelson/protocol/etcd";
import { AnswerForm, show } from "./answers.ts";
import { covers } from "./key-range.ts";
import { rangeRequestOf, txnRequestOf } from "./requests.ts";
import { Revisions } from "./revisions.ts";
import { keyPool, type Step, type WatchStep } from "./steps.ts";
import { WatchLog, type WatchRecord } from "./watch-log.ts";

/** More than the 100 ms after which etcd looks for watches that have to catch up. */
const catchUpMs = 250;
const nul = Buffer.from([0]);
const everything = { key: nul, rangeEnd: nul };

/** One server during one script. */
export class Session {
  readonly #client: EtcdClient;
  readonly #watches: WatchLog;
  readonly #revisions: Revisions;
  readonly #form: AnswerForm;
  /** Revisions below this one are compacted. */
  #compacted = 0;
  /** Watches that began below it: they end with their cancellation. */
  readonly #refused = new Set<WatchRecord>();
  readonly #refusedIds = new Set<number>();
  /** etcd feeds a watch its history a while after its creation; what ends it in between would cut that short, or not. */
  #catchUpUntil = 0;

  private constructor(client: EtcdClient, watches: WatchLog, first: number) {
    this.#client = client;
    this.#watches = watches;
    this.#revisions = new Revisions(first);
    this.#form = new AnswerForm(this.#revisions);
  }

  /** Empties the server, whatever earlier scripts left, and begins. */
  static async begin(client: EtcdClient): Promise<Session> {
    const { leases } = await client.call(services.lease.leases, {});
    for (const { id } of leases) await client.leaseRevoke(id);
    await client.deleteRange(everything);
    // The first revision a script can name is one that is alike on both servers.
    await client.put({ key: nul });
    const { header } = await client.deleteRange({ key: nul });
    return new Session(client, await WatchLog.open(client), header!.revision);
  }

  static connect(url: string): EtcdClient {
    return createEtcdClient({ endpoints: [url] });
  }

  /** Runs one step; the result is comparable between servers. Errors are results too. */
  async run(step: Step): Promise<unknown> {
    try {
      return await this.#answer(step);
    } catch (error) {
      if (error instanceof RpcError) return { error: error.code, message: error.message };
      throw error;
    }
  }

  /** Writes to every key so that each watch sees an end, waits for it, and tells what the watches were told. */
  async finish(): Promise<unknown> {
    for (const key of keyPool) await this.#write(this.#client.put({ key, value: Buffer.from("end") }));
    await this.#write(this.#client.deleteRange(everything));
    const end = this.#revisions.newest;
    await this.#watches.until(
      () => this.#watches.records.every((record) => isComplete(record, end, this.#refused.has(record))),
      "a watch did not deliver everything",
    );
    this.#watches.close();
    return this.#watches.records.map((record) => ({
      canceled: record.canceled && this.#form.watchResponse(record.canceled),
      events: record.events.map((event) => this.#form.event(event)),
      violations: record.violations,
    }));
  }

  close(): void {
    this.#watches.close();
  }

  async #answer(step: Step): Promise<unknown> {
    const client = this.#client;
    const form = this.#form;
    switch (step.kind) {
      case "range":
        return form.range(step, await client.range(rangeRequestOf(step, this.#revisions)));
      case "put": {
        const response = await this.#write(client.put(step));
        return { header: form.header(response.header), before: form.keyValue(response.prevKv) };
      }
      case "delete":
        return form.deleted(await this.#write(client.deleteRange(step)));
      case "txn":
        return form.txn(step, await this.#write(client.txn(txnRequestOf(step, this.#revisions))));
      case "compact": {
        const revision = this.#revisions.resolve(step.revision);
        await delay(Math.max(0, this.#catchUpUntil - performance.now()));
        const { header } = await client.call(services.kv.compact, { revision, physical: step.physical });
        this.#compacted = revision;
        return form.header(header);
      }
      case "watch":
        return this.#watch(step);
      case "cancel":
        await delay(Math.max(0, this.#catchUpUntil - performance.now()));
        if (this.#refusedIds.has(step.watchId)) return undefined;
        return this.#watches.cancel(step.watchId);
      case "grant": {
        const { header, id, ttl, error } = await client.leaseGrant(step.ttl, step.id);
        return { header: form.header(header), id, ttl, error };
      }
      case "revoke":
        return form.header((await this.#write(client.call(services.lease.revoke, { id: step.id }))).header);
      case "keepAlive": {
        const { header, id, ttl } = await client.leaseKeepAlive(step.id);
        return { header: form.header(header), id, ttl };
      }
      case "timeToLive": {
        const { header, id, ttl, grantedTtl, keys } = await client.leaseTimeToLive(step.id, step.keys);
        const isAlive = ttl > 0 && ttl <= grantedTtl;
        return {
          header: form.header(header),
          id,
          ttl: isAlive ? "alive" : ttl,
          grantedTtl,
          keys: keys.map(show).sort(),
        };
      }
      case "leases": {
        const { header, leases } = await client.call(services.lease.leases, {});
        return { header: form.header(header), leases: leases.map(({ id }) => id).sort() };
      }
    }
  }

  async #watch({ kind: _, ...step }: WatchStep): Promise<unknown> {
    let startRevision = this.#revisions.resolve(step.startRevision);
    // A watch at the compacted revision itself is legal, but etcd 3.4 has lost that revision's deletes (etcd#18089).
    if (startRevision > 0 && startRevision === this.#compacted) startRevision++;
    if (startRevision > 0) this.#catchUpUntil = performance.now() + catchUpMs;
    // etcd 3.4 keeps the id of a watch that compaction ended for ever, which is a leak and no promise: such ids stay unused.
    const isRefused = startRevision > 0 && startRevision < this.#compacted;
    const watchId = isRefused || this.#refusedIds.has(step.watchId) ? 0 : step.watchId;
    const record = await this.#watches.create({ ...step, startRevision, watchId });
    if (isRefused && !record.created.canceled) {
      this.#refused.add(record);
      this.#refusedIds.add(record.created.watchId);
      await this.#watches.until(
        () => record.canceled !== undefined,
        "a watch below the compacted revision was not canceled",
      );
    }
    return this.#form.watchResponse(record.created);
  }

  async #write<T extends { header?: { revision: number } | undefined }>(answer: Promise<T>): Promise<T> {
    const response = await answer;
    this.#revisions.observe(response.header?.revision ?? 0);
    return response;
  }
}

/** Whether a watch has been told the last that concerns it: its cancellation, or an event of the closing writes. */
function isComplete(
  { request, created, canceled, events, violations }: WatchRecord,
  end: number,
  isRefused: boolean,
): boolean {
  if (created.canceled || canceled !== undefined || violations.length > 0) return true;
  if (isRefused) return false;
  if ((request.startRevision ?? 0) > end) return true;
  const key = request.key?.length ? request.key : nul;
  const range = { key: Buffer.from(key), rangeEnd: Buffer.from(request.rangeEnd ?? []) };
  const keys = keyPool.filter((candidate) => covers(range, candidate));
  const [noPut, noDelete] = [0, 1].map((filter) => request.filters?.includes(filter) ?? false);
  if (keys.length === 0 || (noPut && noDelete)) return true;
  const last = events.at(-1)?.kv;
  if (!noDelete) return last?.modRevision === end;
  // Deletes are not shown: the closing put of the last key in the range is the end.
  return last !== undefined && keys.at(-1)!.equals(last.key) && last.value.toString() === "end";
}
