import { reportError } from "./cli/report-error.ts";
import { runCommandLine } from "./cli/run.ts";
import { commands } from "./commands.ts";

/** The `keelson` command line: finds the command, parses its options, runs it. Sets the exit code; never throws. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    process.exitCode = await runCommandLine(commands, argv);
  } catch (error) {
    process.exitCode = reportError(error);
  } finally {
    // The channel to `keelson dev` would keep a process alive that has nothing more to do.
    if (process.connected) process.disconnect();
  }
}
