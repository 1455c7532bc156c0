import { errorMessage, type Logger, type Service, type Timer } from "@keelson/service";
import type { ApiObject, Kind } from "../kinds/kind.ts";
import type { StoreEvent } from "../storage/store-event.ts";
import type { Subscription } from "../storage/watch-hub.ts";
import type { ApiContext } from "../verbs/call.ts";

const retryMs = 1_000;

/** What a controller hears: the object, and undefined with its last state (at least name, namespace and uid) when it is gone. */
export type OnObject = (object: ApiObject | undefined, previous: ApiObject | undefined) => void;

/**
 * Follows every object of a kind inside this process: list, then the shared watch. When that ends it lists again, and tells
 * what went away in between.
 */
export class FollowedKind implements Service {
  readonly #context: ApiContext;
  readonly #kind: Kind;
  readonly #onObject: OnObject;
  readonly #log: Logger;
  /** Which objects exist: enough to tell that one is gone. */
  readonly #known = new Map<string, ApiObject>();
  #subscription: Subscription | undefined;
  #retry: Timer | undefined;
  #isStopped = false;

  constructor(context: ApiContext, kind: Kind, onObject: OnObject, log: Logger) {
    this.#context = context;
    this.#kind = kind;
    this.#onObject = onObject;
    this.#log = log;
  }

  async start(): Promise<void> {
    void this.#follow();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#retry?.cancel();
    this.#subscription?.cancel();
  }

  async #follow(): Promise<void> {
    try {
      const { items, revision } = await this.#context.store.list(this.#kind, undefined);
      if (this.#isStopped) return;
      this.#replace(items);
      this.#subscription = this.#context.hub.subscribe(this.#kind, revision, {
        onEvent: (event) => this.#onEvent(event),
        onEnd: () => this.#again(),
      });
    } catch (error) {
      this.#log.debug({ kind: this.#kind.kind, error: errorMessage(error) }, "controller cannot follow a kind");
      this.#again();
    }
  }

  #replace(items: readonly ApiObject[]): void {
    const vanished = new Map(this.#known);
    for (const item of items) {
      vanished.delete(nameOf(item));
      this.#known.set(nameOf(item), identityOf(item));
      this.#onObject(item, undefined);
    }
    for (const [name, last] of vanished) {
      this.#known.delete(name);
      this.#onObject(undefined, last);
    }
  }

  #onEvent(event: StoreEvent): void {
    try {
      const { object } = event;
      if (object === undefined) return;
      if (event.isDelete) this.#known.delete(nameOf(object));
      else this.#known.set(nameOf(object), identityOf(object));
      this.#onObject(event.isDelete ? undefined : object, event.isDelete ? object : undefined);
    } catch (error) {
      this.#log.warn({ key: event.key, error: errorMessage(error) }, "controller cannot read a changed object");
    }
  }

  #again(): void {
    if (!this.#isStopped) this.#retry = this.#context.clock.setTimeout(() => void this.#follow(), retryMs);
  }
}

function nameOf({ metadata }: ApiObject): string {
  return `${metadata.namespace ?? ""}/${metadata.name}`;
}

function identityOf({ apiVersion, kind, metadata: { name, namespace, uid } }: ApiObject): ApiObject {
  return {
    apiVersion,
    kind,
    metadata: { name, ...(namespace === undefined ? {} : { namespace }), ...(uid === undefined ? {} : { uid }) },
  };
}
