import { resolveOptions } from "@keelson/service";
import type { CommandModule } from "../src/cli/command.ts";
import { type ServerConfig, serverConfig } from "../src/server/config.ts";
import { serverOptions } from "../src/server/options.ts";

/** What a command line is made into, without the command line. */
type Flags = Readonly<Record<string, string>>;

const given = (flags: Flags) => [
  { from: "the test", values: new Map(Object.entries(flags).map(([name, value]) => [name, [value]] as const)) },
];

/** The configuration of a server with these flags. */
export function configOf(flags: Flags): Promise<ServerConfig> {
  return serverConfig(resolveOptions(serverOptions, given(flags)));
}

/** Runs a command with these flags and answers its exit code and what it printed. */
export async function runCommand(
  command: CommandModule,
  flags: Flags,
  args: readonly string[] = [],
): Promise<{ code: number; text: string }> {
  const lines: string[] = [];
  const options = resolveOptions(command.options, given(flags));
  const code = await command.run({ options, args, print: (line) => lines.push(line) });
  return { code, text: lines.join("\n") };
}
