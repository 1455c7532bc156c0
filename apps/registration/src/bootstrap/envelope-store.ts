/** A key of the datastore and where it stands. */
export interface StoredValue {
  key: string;
  value: string;
  /** Revision of its last change. */
  revision: number;
}

/** A key as it is to become, if it is still at `revision` (0: if there is none). Without a value it goes. */
export interface StoreChange {
  key: string;
  revision: number;
  value?: string;
  /** With this time the value goes by itself. */
  ttlSeconds?: number;
}

/** What the bootstrap exchange needs of the datastore. Every method throws when it does not answer. */
export interface EnvelopeStore {
  list(prefix: string): Promise<StoredValue[]>;
  /** Creates a key; false when it exists. */
  create(key: string, value: string): Promise<boolean>;
  /** Replaces a key that is still at `revision`; false when it is not. */
  replace(key: string, value: string, revision: number): Promise<boolean>;
  /** Deletes a key that is still at `revision`; false when it is not. */
  delete(key: string, revision: number): Promise<boolean>;
  /** Makes all of these changes or none; false when one of the keys is not at its revision any more. */
  commit(changes: readonly StoreChange[]): Promise<boolean>;
  /**
   * Calls back with the values of the keys that begin with `prefix`, as they are and whenever they change; a value may come
   * more than once, the last one always comes. The returned function ends it.
   */
  watch(prefix: string, onValue: (value: string, key: string) => void): () => void;
}
