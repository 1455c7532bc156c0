import { createDatastore, type DatastoreConfig } from "@keelson/datastore";

/**
 * One datastore adapter in a process of its own, for tests that kill it: `node adapter-process.ts <configuration as JSON>`.
 * Prints `listening on <url>` once it serves.
 */
const config = JSON.parse(process.argv[2] ?? "") as DatastoreConfig;

const datastore = createDatastore(config);
process.once("SIGTERM", () => {
  datastore.stop().then(
    () => process.exit(0),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
await datastore.start();
console.log(`listening on ${datastore.addresses.join(" ")}`);
