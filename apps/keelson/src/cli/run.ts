import {
  KeelsonError,
  type OptionSpec,
  type OptionSpecs,
  optionsFromEnvironment,
  type RawOptions,
  resolveOptions,
} from "@keelson/service";
import type { Command, CommandModule } from "./command.ts";
import { defaultConfigFile, readConfigFiles } from "./config-file.ts";
import { commandHelp, groupHelp } from "./help.ts";
import { parseArguments } from "./parse-arguments.ts";
import { version } from "./version.ts";

const configOption: OptionSpec = {
  type: "string",
  short: "c",
  env: ["KEELSON_CONFIG_FILE", "K3S_CONFIG_FILE"],
  placeholder: "file",
  help: `YAML file with option names as keys; <file>.d/*.yaml is read after it`,
  default: defaultConfigFile,
};

/** Walks the command tree with `argv`, parses the command's options and runs it. Returns the exit code. */
export async function runCommandLine(root: readonly Command[], argv: readonly string[]): Promise<number> {
  const path: string[] = [];
  let level = root;
  for (let index = 0; ; index++) {
    const word = argv[index];
    if (word === undefined || word === "--help" || word === "-h" || word === "help") {
      process.stdout.write(groupHelp(path, level));
      return word === undefined && path.length > 0 ? 1 : 0;
    }
    if (path.length === 0 && (word === "--version" || word === "-v" || word === "version")) {
      process.stdout.write(`${await version()}\n`);
      return 0;
    }
    const command = level.find(({ name, aliases }) => name === word || aliases?.includes(word));
    if (command === undefined) {
      throw new KeelsonError("cli/unknown-command", `unknown command "${[...path, word].join(" ")}"`, {
        hint: `commands: ${level.map((candidate) => candidate.name).join(", ")}`,
      });
    }
    path.push(command.name);
    if ("load" in command) return runModule(path, command.summary, await command.load(), argv.slice(index + 1));
    level = command.children;
  }
}

async function runModule(
  path: readonly string[],
  summary: string,
  module: CommandModule,
  argv: readonly string[],
): Promise<number> {
  const specs: OptionSpecs = module.configFile ? { ...module.options, config: configOption } : module.options;
  const parsed = parseArguments(specs, argv);
  const { usage } = module;
  if (parsed.help || (usage === undefined && parsed.args[0] === "help")) {
    process.stdout.write(commandHelp(path, summary, module, specs));
    return 0;
  }
  if (usage === undefined && parsed.args.length > 0) {
    throw new KeelsonError("cli/usage", `"${path.join(" ")}" takes no arguments, got "${parsed.args.join(" ")}"`, {
      hint: `see keelson ${path.join(" ")} --help`,
    });
  }
  const environment = optionsFromEnvironment(specs, process.env);
  const sources: { from: string; values: RawOptions }[] = [
    { from: "the command line", values: parsed.options },
    { from: "the environment", values: environment },
  ];
  if (module.configFile) {
    // As in k3s, the variable wins over the flag here, so that a wrapper script can redirect a fixed unit file.
    const named = environment.get("config")?.[0] ?? parsed.options.get("config")?.at(-1);
    const file = named ?? defaultConfigFile;
    const inFile = await readConfigFiles(file, { mustExist: named !== undefined });
    const isKnown = ([name]: [string, unknown]): boolean => module.configFile !== "shared" || specs[name] !== undefined;
    const fromFile = new Map([...inFile].filter(isKnown));
    sources[0] = { from: "the command line", values: addListsOf(specs, parsed.options, fromFile) };
    sources.push({ from: file, values: fromFile });
  }
  return module.run({
    options: resolveOptions(specs, sources),
    args: parsed.args,
    print: (line) => process.stdout.write(`${line}\n`),
  });
}

/** k3s: a list given on the command line adds to the config file's list, a scalar replaces it. */
function addListsOf(specs: OptionSpecs, flags: RawOptions, file: RawOptions): RawOptions {
  const result = new Map(flags);
  for (const [name, values] of flags) {
    if (specs[name]?.type === "list") result.set(name, [...(file.get(name) ?? []), ...values]);
  }
  return result;
}
