import { type Job, Load } from "./load.ts";

/**
 * The load generator's process, forked once for each target: `load-process.ts <url>`. Takes jobs and answers results over
 * its IPC channel.
 */
const url = process.argv[2];
if (url === undefined || process.send === undefined) throw new Error("load-process.ts is started by the bench");

const load = await Load.connect(url);
process.on("message", (job: Job) => {
  load.run(job).then(
    (result) => process.send?.(result),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.once("disconnect", () => load.close());
process.send("ready");
