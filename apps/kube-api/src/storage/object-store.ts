import { isDeepStrictEqual } from "node:util";
import type { EtcdClient } from "@keelson/etcd-client";
import { compareResults, compareTargets, type Input, type RequestOp } from "@keelson/protocol/etcd";
import { apiErrors } from "../http/api-error.ts";
import type { ApiObject, Kind } from "../kinds/kind.ts";
import { decodeObject, encodeObject } from "./codec.ts";
import type { TtlLeases } from "./ttl-leases.ts";

/** Where an object is: namespace is undefined for cluster-scoped kinds. */
export interface ObjectId {
  kind: Kind;
  namespace: string | undefined;
  name: string;
}

export interface ListPage {
  items: ApiObject[];
  /** Revision at which the list is consistent. */
  revision: number;
  /** Key after the last one returned, when there is more. */
  next: string | undefined;
  remaining: number;
}

export interface Preconditions {
  uid?: string;
  resourceVersion?: string;
}

export interface WriteOptions extends Preconditions {
  /** All checks are made and the outcome is returned, but nothing is written. */
  dryRun?: boolean;
}

/** Makes the next state of an object; returning undefined means nothing to change. Runs again when it lost a race. */
export type Change = (current: ApiObject) => ApiObject | undefined | Promise<ApiObject | undefined>;

/** How often a change is tried again on a newer state before giving up; writers of one object are few. */
const maxAttempts = 50;

export function prefixOf(kind: Kind, namespace?: string): string {
  return `/registry/${kind.storagePrefix}/${namespace === undefined ? "" : `${namespace}/`}`;
}

export function keyOf({ kind, namespace, name }: ObjectId): string {
  return `${prefixOf(kind, namespace)}${name}`;
}

/** The key after all keys with this prefix. The prefixes here end in "/", whose successor is "0". */
export function prefixEnd(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1]! += 1;
  return end;
}

/** Objects in the datastore, under kube-apiserver's keys and with its optimistic concurrency. */
export class ObjectStore {
  readonly etcd: EtcdClient;
  readonly #leases: TtlLeases;

  constructor(etcd: EtcdClient, leases: TtlLeases) {
    this.etcd = etcd;
    this.#leases = leases;
  }

  async get(id: ObjectId): Promise<ApiObject | undefined> {
    const key = keyOf(id);
    const { kvs } = await this.etcd.range({ key: Buffer.from(key), limit: 1 });
    return kvs[0] === undefined ? undefined : decodeObject(id.kind, key, kvs[0].value, kvs[0].modRevision);
  }

  /** A linearizable list, or one at a past `revision`; at most `limit` objects from `from` on. */
  async list(
    kind: Kind,
    namespace: string | undefined,
    options: { limit?: number; from?: string; revision?: number } = {},
  ): Promise<ListPage> {
    const prefix = prefixOf(kind, namespace);
    const response = await this.etcd.range(
      {
        key: Buffer.from(options.from ?? prefix),
        rangeEnd: prefixEnd(prefix),
        limit: options.limit ?? 0,
        revision: options.revision ?? 0,
      },
      { timeoutMs: 30_000 },
    );
    const last = response.kvs.at(-1);
    return {
      items: response.kvs.map((kv) => decodeObject(kind, kv.key.toString(), kv.value, kv.modRevision)),
      revision: options.revision ?? response.header?.revision ?? 0,
      next: response.more && last !== undefined ? `${last.key.toString()}\0` : undefined,
      remaining: response.count - response.kvs.length,
    };
  }

  /** The store's current revision, read linearizably. */
  async currentRevision(): Promise<number> {
    const { header } = await this.etcd.range({ key: Buffer.from("/registry/health"), limit: 1 });
    return header?.revision ?? 0;
  }

  async create(id: ObjectId, object: ApiObject, { dryRun = false }: WriteOptions = {}): Promise<ApiObject> {
    if (dryRun) {
      if ((await this.get(id)) !== undefined) throw apiErrors.alreadyExists(id.kind, id.name);
      return object;
    }
    const key = Buffer.from(keyOf(id));
    const response = await this.etcd.txn({
      compare: [{ key, target: compareTargets.mod, result: compareResults.equal, modRevision: 0 }],
      success: [await this.#put(id.kind, key, object)],
    });
    if (!response.succeeded) throw apiErrors.alreadyExists(id.kind, id.name);
    return stored(object, response.header?.revision);
  }

  /** Changes an object until the change meets no other writer. A given precondition that fails is a conflict. */
  async update(id: ObjectId, change: Change, options: WriteOptions = {}): Promise<ApiObject> {
    let current = await this.get(id);
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      if (current === undefined) throw apiErrors.notFound(id.kind, id.name);
      checkPreconditions(id, current, options);
      const revision = Number(current.metadata.resourceVersion);
      const next = await change(structuredClone(current));
      if (next === undefined || sameStored(next, current)) return current;
      if (options.dryRun) return next;
      const key = Buffer.from(keyOf(id));
      const response = await this.etcd.txn({
        compare: [{ key, target: compareTargets.mod, result: compareResults.equal, modRevision: revision }],
        success: [await this.#put(id.kind, key, next)],
        failure: [{ requestRange: { key } }],
      });
      if (response.succeeded) return stored(next, response.header?.revision);
      const kv = response.responses[0]?.responseRange?.kvs[0];
      current = kv === undefined ? undefined : decodeObject(id.kind, keyOf(id), kv.value, kv.modRevision);
    }
    throw apiErrors.modified(id.kind, id.name);
  }

  /** Removes an object; resolves to its last state. */
  async delete(id: ObjectId, options: WriteOptions = {}): Promise<ApiObject> {
    let current = await this.get(id);
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      if (current === undefined) throw apiErrors.notFound(id.kind, id.name);
      checkPreconditions(id, current, options);
      if (options.dryRun) return current;
      const key = Buffer.from(keyOf(id));
      const response = await this.etcd.txn({
        compare: [
          {
            key,
            target: compareTargets.mod,
            result: compareResults.equal,
            modRevision: Number(current.metadata.resourceVersion),
          },
        ],
        success: [{ requestDeleteRange: { key } }],
        failure: [{ requestRange: { key } }],
      });
      if (response.succeeded) return stored(current, response.header?.revision);
      const kv = response.responses[0]?.responseRange?.kvs[0];
      current = kv === undefined ? undefined : decodeObject(id.kind, keyOf(id), kv.value, kv.modRevision);
    }
    throw apiErrors.modified(id.kind, id.name);
  }

  async #put(kind: Kind, key: Buffer, object: ApiObject): Promise<Input<RequestOp>> {
    const lease = kind.ttlSeconds === undefined ? 0n : await this.#leases.forTtl(kind.ttlSeconds);
    return { requestPut: { key, value: encodeObject(object), lease } };
  }
}

function stored(object: ApiObject, revision: number | undefined): ApiObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision ?? 0) } };
}

/** A change that changes nothing writes nothing, as in kube-apiserver: no revision, no event. */
function sameStored(next: ApiObject, current: ApiObject): boolean {
  const [after, before] = [encodeObject(next), encodeObject(current)];
  if (after.length !== before.length) return false;
  // A patch may put the same fields in another order.
  return after.equals(before) || isDeepStrictEqual(JSON.parse(String(after)), JSON.parse(String(before)));
}

function checkPreconditions(id: ObjectId, current: ApiObject, { uid, resourceVersion }: Preconditions): void {
  if (uid !== undefined && uid !== current.metadata.uid) {
    throw apiErrors.conflict(
      id.kind,
      id.name,
      `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${current.metadata.uid}`,
    );
  }
  if (resourceVersion !== undefined && resourceVersion !== "" && resourceVersion !== current.metadata.resourceVersion) {
    throw apiErrors.modified(id.kind, id.name);
  }
}
