export { createDatastore, type Datastore, type DatastoreConfig } from "./datastore.ts";
export { datastoreConfig, datastoreOptions } from "./options.ts";
export type { ListenOptions, ListenTls } from "./server/listener.ts";
export { readSnapshotKeys } from "./snapshot/read-snapshot.ts";
export { type Restored, type RestoreOptions, restoreSnapshot } from "./snapshot/restore-snapshot.ts";
