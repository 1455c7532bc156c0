import type { Logger, Service, Timer } from "@keelson/service";
import type { ApiObject } from "../kinds/kind.ts";
import { fieldAt } from "../kinds/kind.ts";
import type { ApiContext } from "../verbs/call.ts";
import { removeObject } from "../verbs/remove.ts";
import { attempt, createDefaultServiceAccount } from "./essentials.ts";
import { FollowedKind } from "./followed-kind.ts";

const retryMs = 2_000;

/** Gives each namespace its default service account, and empties and removes namespaces that are being deleted. */
export class Namespaces implements Service {
  readonly #context: ApiContext;
  readonly #log: Logger;
  readonly #followed: FollowedKind;
  readonly #retries = new Map<string, Timer>();

  constructor(context: ApiContext, log: Logger) {
    this.#context = context;
    this.#log = log;
    const kind = context.catalog.require("namespaces");
    this.#followed = new FollowedKind(context, kind, (namespace) => void (namespace && this.#step(namespace)), log);
  }

  start(): Promise<void> {
    return this.#followed.start();
  }

  async stop(): Promise<void> {
    await this.#followed.stop();
    for (const timer of this.#retries.values()) timer.cancel();
  }

  async #step(namespace: ApiObject): Promise<void> {
    const { name, deletionTimestamp } = namespace.metadata;
    const isDone = await attempt(this.#log, "namespaces", () =>
      deletionTimestamp === undefined ? createDefaultServiceAccount(this.#context, name) : this.#empty(name),
    );
    this.#retries.get(name)?.cancel();
    if (isDone) this.#retries.delete(name);
    else
      this.#retries.set(
        name,
        this.#context.clock.setTimeout(() => void this.#retry(name), retryMs),
      );
  }

  async #retry(name: string): Promise<void> {
    const kind = this.#context.catalog.require("namespaces");
    await attempt(this.#log, "namespaces", async () => {
      const current = await this.#context.store.get({ kind, namespace: undefined, name });
      if (current !== undefined) await this.#step(current);
    });
  }

  /** Deletes all that is in the namespace, then the namespace. Fails while something (a finalizer, a pod) still holds on. */
  async #empty(name: string): Promise<void> {
    const { catalog, store } = this.#context;
    let remaining = 0;
    for (const kind of catalog.all) {
      if (!kind.namespaced) continue;
      const { items } = await store.list(kind, name);
      for (const item of items) {
        const { isGone } = await removeObject(this.#context, { kind, namespace: name, name: item.metadata.name }, {});
        if (!isGone) remaining++;
      }
    }
    if (remaining > 0) throw new Error(`namespace ${name} still holds ${remaining} objects`);
    const id = { kind: catalog.require("namespaces"), namespace: undefined, name };
    const finalized = await store.update(id, (namespace) => {
      const rest = finalizersOf(namespace).filter((finalizer) => finalizer !== "kubernetes");
      return { ...namespace, spec: { ...(namespace.spec as object), finalizers: rest } };
    });
    if (finalizersOf(finalized).length === 0 && (finalized.metadata.finalizers ?? []).length === 0)
      await store.delete(id);
  }
}

/** Those of the specification, which hold the namespace until it is empty. */
function finalizersOf(namespace: ApiObject): unknown[] {
  const finalizers = fieldAt(namespace, "spec.finalizers");
  return Array.isArray(finalizers) ? finalizers : [];
}
