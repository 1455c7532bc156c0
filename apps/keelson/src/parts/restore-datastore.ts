import { type DatastoreConfig, restoreSnapshot } from "@keelson/datastore";
import { createLogger, KeelsonError } from "@keelson/service";

/** Fills the empty database of `config` from a snapshot of an etcd or of Keelson, and says what comes next. */
export async function restore(
  { endpoint, databaseTls }: DatastoreConfig,
  args: readonly string[],
  skipHashCheck: boolean,
  print: (line: string) => void,
): Promise<number> {
  const [file] = args;
  if (file === undefined || args.length > 1) {
    throw new KeelsonError("cli/usage", "name one snapshot file", {
      hint: "for example: keelson datastore restore snapshot.db --endpoint postgres://user:password@host/kubernetes",
    });
  }
  const { keys, leases, revision } = await restoreSnapshot(
    { file, endpoint, skipHashCheck, ...(databaseTls === undefined ? {} : { databaseTls }) },
    { log: createLogger({ name: "datastore", level: "warn" }) },
  );
  print(`restored ${keys} keys and ${leases} leases of ${file}; the store is at revision ${revision}`);
  print(
    "start `keelson datastore` or `keelson server` with the same endpoint now, and restart the clients of the old store",
  );
  return 0;
}
