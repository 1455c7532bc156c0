/** A key of the datastore and where it stands. */
export interface StoredValue {
  key: string;
  value: string;
  /** Revision of its last change. */
  revision: number;
}

/** What the bootstrap exchange needs of the datastore. Every method throws when it does not answer. */
export interface EnvelopeStore {
  list(prefix: string): Promise<StoredValue[]>;
  /** Creates a key; false when it exists. With `ttlSeconds` it goes by itself. */
  create(key: string, value: string, ttlSeconds?: number): Promise<boolean>;
  /** Replaces a key that is still at `revision`; false when it is not. */
  replace(key: string, value: string, revision: number): Promise<boolean>;
  /** Deletes a key that is still at `revision`; false when it is not. */
  delete(key: string, revision: number): Promise<boolean>;
  /** Calls back with each new value of the keys that begin with `prefix`; the returned function ends it. */
  watch(prefix: string, onValue: (value: string, key: string) => void): () => void;
}
