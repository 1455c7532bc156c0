import { createDatastore } from "@keelson/datastore";

/**
 * One datastore adapter in a process of its own, for tests that kill it: `node adapter-process.ts <endpoint> <url>`.
 * Prints `listening on <url>` once it serves.
 */
const [endpoint, url] = process.argv.slice(2);
if (endpoint === undefined || url === undefined) throw new Error("usage: adapter-process.ts <endpoint> <listen url>");

const datastore = createDatastore({ endpoint, listen: [{ url }] });
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
