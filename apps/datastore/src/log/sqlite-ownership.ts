import { KeelsonError, Ownership } from "@keelson/service";

/** Two servers on one file would hand out the same revisions. */
export function sqliteOwnership(path: string): Ownership {
  return new Ownership(
    `${path}-owner`,
    (holder) =>
      new KeelsonError("datastore/in-use", `${holder} has the SQLite database ${path} open`, {
        hint: "stop it, or give this one another path; to run several replicas use PostgreSQL or MySQL",
      }),
  );
}
