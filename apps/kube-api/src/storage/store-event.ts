import { type Event, eventTypes } from "@keelson/protocol/etcd";
import type { ApiObject, Kind } from "../kinds/kind.ts";
import { decodeObject } from "./codec.ts";

/** A change of one object; parsed at most once, however many watchers look at it. Watchers must not change the objects. */
export class StoreEvent {
  readonly revision: number;
  readonly key: string;
  readonly isDelete: boolean;
  readonly #kind: Kind;
  readonly #event: Event;
  readonly #written = new Map<string, Buffer>();
  #object: ApiObject | undefined;
  #previous: ApiObject | undefined;

  constructor(kind: Kind, event: Event) {
    this.#kind = kind;
    this.#event = event;
    this.key = event.kv?.key.toString() ?? "";
    this.revision = event.kv?.modRevision ?? 0;
    this.isDelete = event.type === eventTypes.delete;
  }

  /** The state after the change; after a deletion the last state, at the deletion's resource version. */
  get object(): ApiObject | undefined {
    this.#object ??= this.#decode(this.isDelete ? this.#event.prevKv?.value : this.#event.kv?.value);
    return this.#object;
  }

  /** The state before the change, undefined after a creation. */
  get previous(): ApiObject | undefined {
    this.#previous ??= this.#decode(this.#event.prevKv?.value);
    return this.#previous;
  }

  /** The bytes for watchers of one form (version, encoding, type); made once for all of them. */
  written(form: string, write: () => Buffer): Buffer {
    let bytes = this.#written.get(form);
    if (bytes === undefined) {
      bytes = write();
      this.#written.set(form, bytes);
    }
    return bytes;
  }

  /** Kept for late joiners, but its bytes are not: they can be made again. */
  forgetWritten(): void {
    this.#written.clear();
  }

  #decode(value: Buffer | undefined): ApiObject | undefined {
    return value === undefined ? undefined : decodeObject(this.#kind, this.key, value, this.revision);
  }
}
