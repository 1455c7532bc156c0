import type { OptionSpecs, OptionValues } from "@keelson/service";

/** What a command's code is given: parsed options, positional arguments, and where to print answers. */
export interface Invocation<Specs extends OptionSpecs> {
  options: OptionValues<Specs>;
  args: readonly string[];
  /** Prints a line of the answer (standard output; logs go to standard error). */
  print(line: string): void;
}

/** A command's declaration and code, loaded only when the command is used. */
export interface CommandModule<Specs extends OptionSpecs = OptionSpecs> {
  options: Specs;
  /** Positional arguments as usage shows them: `<name>...`. */
  usage?: string;
  /**
   * Whether the YAML config file applies (daemons) or not (one-shot commands); `shared` when it is that of another command,
   * whose options this one does not all know.
   */
  configFile?: boolean | "shared";
  /** Returns the exit code. */
  run(invocation: Invocation<Specs>): Promise<number>;
}

/** A node of the command tree: either a group with children or a command. `aliases` are taken and not shown. */
export type Command = { name: string; aliases?: readonly string[]; summary: string } & (
  | { children: readonly Command[] }
  | { load(): Promise<CommandModule> }
);

/** Gives a module's declaration its precise types and forgets them again for the table. */
export function defineCommand<const Specs extends OptionSpecs>(module: CommandModule<Specs>): CommandModule {
  return module as unknown as CommandModule;
}
