import { Lifecycle, type Logger, type Service } from "@keelson/service";
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

/**
 * Deletes what belonged to an owner when the last of its owners is gone (background propagation). The datastore is read
 * when an owner goes, which is rare, instead of holding a graph of all objects in memory.
 */
export class GarbageCollector implements Service {
  readonly #context: ApiContext;
  readonly #log: Logger;
  readonly #lifecycle: Lifecycle;

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
  }

  stop(): Promise<void> {
    return this.#lifecycle.stop();
  }

  async #ownerGone(owner: ApiObject): Promise<void> {
    await attempt(this.#log, "garbage collector", async () => {
      for (const kind of this.#context.catalog.all) {
        if (kind.plural === "events") continue;
        if (!kind.namespaced && owner.metadata.namespace !== undefined) continue;
        const { items } = await this.#context.store.list(kind, owner.metadata.namespace);
        for (const item of items) await this.#judge(kind, item, owner);
      }
    });
  }

  async #judge(kind: Kind, item: ApiObject, owner: ApiObject): Promise<void> {
    const references = item.metadata.ownerReferences ?? [];
    if (!references.some((reference) => reference.uid === owner.metadata.uid)) return;
    const id = { kind, namespace: item.metadata.namespace, name: item.metadata.name };
    const others = references.filter((reference) => reference.uid !== owner.metadata.uid);
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
