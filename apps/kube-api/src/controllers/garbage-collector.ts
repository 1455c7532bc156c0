import { Lifecycle, type Logger, type Service, type Timer } from "@keelson/service";
import { ApiError } from "../http/api-error.ts";
import type { ApiObject, Kind } from "../kinds/kind.ts";
import type { ObjectId } from "../storage/object-store.ts";
import type { ApiContext } from "../verbs/call.ts";
import { endDeletion } from "../verbs/change-object.ts";
import { cascadeFinalizers, type DeleteOptions } from "../verbs/delete-options.ts";
import { removeObject } from "../verbs/remove.ts";
import { attempt } from "./essentials.ts";
import { FollowedKind } from "./followed-kind.ts";
import { idOfObject, type Owner, OwnerGraph, ownerKey, ownersOf } from "./owner-graph.ts";

/** After the start, when every kind has been listed: finds owners that went while nobody followed them. */
const sweepAfterMs = 30_000;
const retryMs = 2_000;

/**
 * Deletes what belonged to an owner when the last of its owners is gone, and ends deletions that wait for dependents: in the
 * foreground (`foregroundDeletion`: the dependents go first) or without them (`orphan`: they are set free first).
 * Source: kubernetes pkg/controller/garbagecollector.
 */
export class GarbageCollector implements Service {
  readonly #context: ApiContext;
  readonly #log: Logger;
  readonly #lifecycle: Lifecycle;
  readonly #graph: OwnerGraph;
  /** Owners to look at, one after the other. */
  readonly #queue = new Map<string, Owner>();
  /** Owners that wait for their dependents. */
  readonly #waiting = new Set<string>();
  readonly #timers = new Map<string, Timer>();
  #isWorking = false;
  #isStopped = false;

  constructor(context: ApiContext, log: Logger) {
    this.#context = context;
    this.#log = log;
    this.#lifecycle = new Lifecycle(log);
    this.#graph = new OwnerGraph(context.catalog);
  }

  async start(): Promise<void> {
    for (const kind of this.#kinds()) {
      const onObject = (object: ApiObject | undefined, previous: ApiObject | undefined): void => {
        if (object !== undefined) this.#onSeen(kind, object);
        else if (previous !== undefined) this.#onGone(kind, previous);
      };
      await this.#lifecycle.run(kind.plural, new FollowedKind(this.#context, kind, onObject, this.#log));
    }
    this.#later("sweep", sweepAfterMs, () => this.#graph.owners());
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const timer of this.#timers.values()) timer.cancel();
    await this.#lifecycle.stop();
  }

  /** Events belong to nobody, and are too many to follow. */
  #kinds(): Kind[] {
    return this.#context.catalog.all.filter(({ plural }) => plural !== "events");
  }

  #onSeen(kind: Kind, object: ApiObject): void {
    // An owner is looked up when it is first named, since it may be gone already; later its deletion is heard.
    this.#look(this.#graph.set(kind, object));
    if (waitsForDependents(object)) this.#look([{ ...idOfObject(kind, object), uid: object.metadata.uid ?? "" }]);
  }

  #onGone(kind: Kind, object: ApiObject): void {
    const id = idOfObject(kind, object);
    const gone = { ...id, uid: object.metadata.uid ?? "" };
    this.#waiting.delete(ownerKey(gone));
    this.#look(this.#graph.remove(id).filter((owner) => this.#waiting.has(ownerKey(owner))));
    if (this.#graph.dependentsOf(gone).length > 0) this.#look([gone]);
  }

  #look(owners: readonly Owner[]): void {
    for (const owner of owners) this.#queue.set(ownerKey(owner), owner);
    if (!this.#isWorking && this.#queue.size > 0) void this.#work();
  }

  #later(key: string, ms: number, owners: () => readonly Owner[]): void {
    if (this.#isStopped || this.#timers.has(key)) return;
    const timer = this.#context.clock.setTimeout(() => {
      this.#timers.delete(key);
      this.#look(owners());
    }, ms);
    this.#timers.set(key, timer);
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    for (const [key, owner] of this.#queue) {
      if (this.#isStopped) break;
      this.#queue.delete(key);
      const isDone = await attempt(this.#log, "garbage collector", () => this.#step(owner));
      if (!isDone || this.#waiting.has(key)) this.#later(key, retryMs, () => [owner]);
    }
    this.#isWorking = false;
  }

  /** Does what the owner's present state asks for. */
  async #step(owner: Owner): Promise<void> {
    const current = await this.#context.store.get(owner);
    if (current === undefined || current.metadata.uid !== owner.uid) {
      this.#waiting.delete(ownerKey(owner));
      await this.#each(this.#graph.dependentsOf(owner), (id) => this.#release(id, owner, {}));
    } else if (current.metadata.deletionTimestamp !== undefined) {
      const finalizers = current.metadata.finalizers ?? [];
      if (finalizers.includes(cascadeFinalizers.Orphan)) await this.#orphan(owner);
      else if (finalizers.includes(cascadeFinalizers.Foreground)) await this.#foreground(owner);
    }
  }

  async #orphan(owner: Owner): Promise<void> {
    await this.#each(await this.#readDependents(owner), ({ id }) => this.#disown(id, owner));
    await this.#dropFinalizer(owner, cascadeFinalizers.Orphan);
  }

  async #foreground(owner: Owner): Promise<void> {
    const dependents = await this.#readDependents(owner);
    let blocking = 0;
    await this.#each(dependents, async ({ id, uid, isBlocking }) => {
      const hasOwn = this.#graph.dependentsOf({ ...id, uid }).length > 0;
      const stays = await this.#release(id, owner, hasOwn ? { propagationPolicy: "Foreground" } : {});
      if (stays && isBlocking) blocking++;
    });
    if (blocking > 0) {
      this.#waiting.add(ownerKey(owner));
      return;
    }
    this.#waiting.delete(ownerKey(owner));
    await this.#dropFinalizer(owner, cascadeFinalizers.Foreground);
  }

  /** Read from the datastore: what the graph has not heard of yet would be lost, or forgotten, with its owner. */
  async #readDependents(owner: Owner): Promise<{ id: ObjectId; uid: string; isBlocking: boolean }[]> {
    const { store, catalog } = this.#context;
    const found: { id: ObjectId; uid: string; isBlocking: boolean }[] = [];
    for (const kind of this.#kinds()) {
      if (owner.namespace !== undefined && !kind.namespaced) continue;
      for (const item of (await store.list(kind, owner.namespace)).items) {
        const named = ownersOf(catalog, item).find((other) => ownerKey(other) === ownerKey(owner));
        if (named === undefined) continue;
        found.push({ id: idOfObject(kind, item), uid: item.metadata.uid ?? "", isBlocking: named.isBlocking });
      }
    }
    return found;
  }

  /** Deletes a dependent, or only takes the owner off it when it has others. Whether it still belongs to the owner. */
  async #release(id: ObjectId, owner: Owner, options: DeleteOptions): Promise<boolean> {
    const current = await this.#context.store.get(id);
    if (current === undefined) return false;
    const named = ownersOf(this.#context.catalog, current);
    if (!named.some((other) => ownerKey(other) === ownerKey(owner))) return false;
    // Others count even when they cannot be looked up: nothing is deleted on a doubt.
    if (othersThan(owner, current).length > 0) {
      await this.#disown(id, owner);
      return false;
    }
    if (current.metadata.deletionTimestamp !== undefined) return true;
    const preconditions = { uid: current.metadata.uid ?? "" };
    return !(await removeObject(this.#context, id, { ...options, preconditions })).isGone;
  }

  async #disown(id: ObjectId, owner: Owner): Promise<void> {
    await this.#context.store.update(id, (object) => {
      const references = othersThan(owner, object);
      const { ownerReferences: _, ...metadata } = object.metadata;
      return { ...object, metadata: references.length === 0 ? metadata : { ...metadata, ownerReferences: references } };
    });
  }

  async #dropFinalizer(owner: Owner, finalizer: string): Promise<void> {
    const written = await this.#context.store.update(
      owner,
      (object) => {
        const finalizers = (object.metadata.finalizers ?? []).filter((other) => other !== finalizer);
        return { ...object, metadata: { ...object.metadata, finalizers } };
      },
      { uid: owner.uid },
    );
    await endDeletion(this.#context, owner, written);
  }

  /** One after the other; what another server was quicker with is no failure, and a failure does not keep the others. */
  async #each<Item>(items: readonly Item[], act: (item: Item) => Promise<unknown>): Promise<void> {
    const failures: unknown[] = [];
    for (const item of items) {
      try {
        await act(item);
      } catch (error) {
        if (!(error instanceof ApiError && error.code === 404)) failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

function othersThan(owner: Owner, { metadata }: ApiObject): NonNullable<ApiObject["metadata"]["ownerReferences"]> {
  return (metadata.ownerReferences ?? []).filter((reference) => reference?.uid !== owner.uid);
}

function waitsForDependents({ metadata }: ApiObject): boolean {
  const { Orphan, Foreground } = cascadeFinalizers;
  if (metadata.deletionTimestamp === undefined || !Array.isArray(metadata.finalizers)) return false;
  return metadata.finalizers.includes(Orphan) || metadata.finalizers.includes(Foreground);
}
