import { DatabaseSync } from "node:sqlite";
import { KeelsonError } from "@keelson/service";

/**
 * Two servers on one file would hand out the same revisions, so the owner holds an exclusive transaction on a small
 * file beside it for as long as it lives; the operating system lets go of it however the process ends.
 */
export function takeOwnership(path: string): DatabaseSync | undefined {
  try {
    const lock = new DatabaseSync(`${path}-owner`);
    lock.exec("PRAGMA busy_timeout = 0; PRAGMA journal_mode = OFF; BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    if (error instanceof Error && /locked|busy/.test(error.message)) {
      throw new KeelsonError("datastore/in-use", `another process owns the SQLite database ${path}`, {
        hint: "stop it, or give this one another path; to run several replicas use PostgreSQL or MySQL",
        cause: error,
      });
    }
    return undefined;
  }
}
