import { Lifecycle, type Logger, type Service, type Timer } from "@keelson/service";
import { ApiError } from "../http/api-error.ts";
import type { ApiObject, Kind } from "../kinds/kind.ts";
import type { ApiContext } from "../verbs/call.ts";
import { removeObject } from "../verbs/remove.ts";
import { attempt } from "./essentials.ts";
import { FollowedKind } from "./followed-kind.ts";

/** Kinds that own others in practice, and so are followed for their deletion. */
const owners: readonly [plural: string, group: string][] = [
  ["nodes", ""],
  ["pods", ""],
  ["services", ""],
  ["configmaps", ""],
  ["deployments", "apps"],
  ["replicasets", "apps"],
  ["statefulsets", "apps"],
  ["daemonsets", "apps"],
  ["jobs", "batch"],
  ["cronjobs", "batch"],
];

/** After the start, when the first clients have been served. */
const sweepAfterMs = 30_000;

/**
 * Deletes what belonged to an owner when the last of its owners is gone (background propagation). The datastore is read
 * when an owner goes, which is rare, instead of holding a graph of all objects in memory.
 */
export class GarbageCollector implements Service {
  readonly #context: ApiContext;
  readonly #log: Logger;
  readonly #lifecycle: Lifecycle;
  #sweep: Timer | undefined;

  constructor(context: ApiContext, log: Logger) {
    this.#context = context;
    this.#log = log;
    this.#lifecycle = new Lifecycle(log);
  }

  async start(): Promise<void> {
    for (const [plural, group] of owners) {
      const kind = this.#context.catalog.require(plural, group);
      const onObject = (object: ApiObject | undefined, previous: ApiObject | undefined): void => {
        if (object === undefined && previous !== undefined) void this.#ownerGone(previous);
      };
      await this.#lifecycle.run(plural, new FollowedKind(this.#context, kind, onObject, this.#log));
    }
    this.#sweep = this.#context.clock.setTimeout(
      () => void attempt(this.#log, "garbage collector", () => this.#sweepOrphans()),
      sweepAfterMs,
    );
  }

  async stop(): Promise<void> {
    this.#sweep?.cancel();
    await this.#lifecycle.stop();
  }

  /** Finds what lost its owner while no server looked. */
  async #sweepOrphans(): Promise<void> {
    const { catalog, store } = this.#context;
    for (const kind of catalog.all) {
      if (kind.plural === "events") continue;
      for (const item of (await store.list(kind, undefined)).items) {
        for (const reference of item.metadata.ownerReferences ?? []) {
          const owner = catalog.findByKind(groupOf(reference.apiVersion), reference.kind);
          if (owner === undefined) continue;
          const namespace = owner.namespaced ? item.metadata.namespace : undefined;
          const current = await store.get({ kind: owner, namespace, name: reference.name });
          if (current?.metadata.uid !== reference.uid) await this.#judge(kind, item, reference.uid);
        }
      }
    }
  }

  async #ownerGone(owner: ApiObject): Promise<void> {
    await attempt(this.#log, "garbage collector", async () => {
      for (const kind of this.#context.catalog.all) {
        if (kind.plural === "events") continue;
        if (!kind.namespaced && owner.metadata.namespace !== undefined) continue;
        const { items } = await this.#context.store.list(kind, owner.metadata.namespace);
        for (const item of items) await this.#judge(kind, item, owner.metadata.uid ?? "");
      }
    });
  }

  async #judge(kind: Kind, item: ApiObject, ownerUid: string): Promise<void> {
    const references = item.metadata.ownerReferences ?? [];
    if (!references.some((reference) => reference.uid === ownerUid)) return;
    const id = { kind, namespace: item.metadata.namespace, name: item.metadata.name };
    const others = references.filter((reference) => reference.uid !== ownerUid);
    try {
      if (others.length === 0)
        await removeObject(this.#context, id, { preconditions: { uid: item.metadata.uid ?? "" } });
      else
        await this.#context.store.update(id, (object) => ({
          ...object,
          metadata: { ...object.metadata, ownerReferences: others },
        }));
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 404)) throw error;
    }
  }
}

function groupOf(apiVersion: string): string {
  return apiVersion.includes("/") ? apiVersion.split("/")[0]! : "";
}
