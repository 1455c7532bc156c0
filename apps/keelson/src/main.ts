import { errorCode } from "@keelson/service";
import { reportError } from "./cli/report-error.ts";
import { runCommandLine } from "./cli/run.ts";
import { commands } from "./commands.ts";

/** The `keelson` command line: finds the command, parses its options, runs it. Sets the exit code; never throws. */
export async function main(argv: readonly string[]): Promise<void> {
  // Who reads the answer may have seen enough (`| head`).
  process.stdout.on("error", (error) => process.exit(errorCode(error) === "EPIPE" ? 0 : 1));
  try {
    process.exitCode = await runCommandLine(commands, argv);
  } catch (error) {
    process.exitCode = reportError(error);
  } finally {
    // The channel to `keelson dev` would keep a process alive that has nothing more to do.
    if (process.connected) process.disconnect();
  }
}
