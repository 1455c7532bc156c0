import type { EnvelopeStore, StoreChange, StoredValue } from "../../src/bootstrap/envelope-store.ts";

/** A datastore in memory, shared by the servers of a test. */
export class MemoryEnvelopes implements EnvelopeStore {
  readonly values = new Map<string, StoredValue>();
  failure: Error | undefined;
  /** Of the requests from now on, the one that fails. */
  failAt: number | undefined;
  /** Makes changes and fails all the same. */
  losesAnswers = false;
  /** Watches hear nothing. */
  isDeaf = false;
  writes = 0;
  #revision = 0;
  readonly #watchers = new Set<{ prefix: string; onValue: (value: string, key: string) => void }>();

  async list(prefix: string): Promise<StoredValue[]> {
    this.#mayFail();
    return [...this.values.values()].filter(({ key }) => key.startsWith(prefix));
  }

  async create(key: string, value: string): Promise<boolean> {
    this.#mayFail();
    if (this.values.has(key)) return false;
    this.#put(key, value);
    return true;
  }

  async replace(key: string, value: string, revision: number): Promise<boolean> {
    this.#mayFail();
    if (this.values.get(key)?.revision !== revision) return false;
    this.#put(key, value);
    return true;
  }

  async delete(key: string, revision: number): Promise<boolean> {
    this.#mayFail();
    return this.values.get(key)?.revision === revision && this.values.delete(key);
  }

  async commit(changes: readonly StoreChange[]): Promise<boolean> {
    this.#mayFail();
    if (changes.some(({ key, revision }) => (this.values.get(key)?.revision ?? 0) !== revision)) return false;
    for (const { key, value } of changes) {
      if (value === undefined) this.values.delete(key);
      else this.#put(key, value);
    }
    if (this.losesAnswers) throw new Error("the connection was lost");
    return true;
  }

  watch(prefix: string, onValue: (value: string, key: string) => void): () => void {
    const watcher = { prefix, onValue };
    this.#watchers.add(watcher);
    this.#tellAll(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Watches are opened again: they hear what is there. */
  hearAgain(): void {
    this.isDeaf = false;
    for (const watcher of this.#watchers) this.#tellAll(watcher);
  }

  #tellAll({ prefix, onValue }: { prefix: string; onValue: (value: string, key: string) => void }): void {
    for (const { key, value } of this.values.values()) if (key.startsWith(prefix)) onValue(value, key);
  }

  #put(key: string, value: string): void {
    this.writes++;
    this.values.set(key, { key, value, revision: ++this.#revision });
    if (this.isDeaf) return;
    for (const { prefix, onValue } of this.#watchers) if (key.startsWith(prefix)) onValue(value, key);
  }

  #mayFail(): void {
    if (this.failure !== undefined) throw this.failure;
    if (this.failAt !== undefined && this.failAt-- === 1) throw new Error("the datastore is away");
  }
}
