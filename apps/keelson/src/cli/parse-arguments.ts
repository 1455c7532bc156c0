import { parseArgs } from "node:util";
import { KeelsonError, type OptionSpecs, type RawOptions } from "@keelson/service";

export interface ParsedArguments {
  options: RawOptions;
  args: readonly string[];
  help: boolean;
}

/**
 * Parses `--name value`, `--name=value`, `-n value`, booleans and `--no-name`. Unknown names are passed on, since
 * `resolveOptions` can name the nearest one that exists.
 */
export function parseArguments(specs: OptionSpecs, argv: readonly string[]): ParsedArguments {
  const declared = Object.entries(specs).map(([name, spec]) => {
    const type = spec.type === "boolean" ? ("boolean" as const) : ("string" as const);
    return [name, spec.short === undefined ? { type } : { type, short: spec.short }] as const;
  });
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(declared),
    strict: false,
    allowPositionals: true,
    allowNegative: true,
    tokens: true,
  });
  const options = new Map<string, string[]>();
  const args: string[] = [];
  let help = false;
  for (const token of tokens) {
    if (token.kind === "positional") args.push(token.value);
    if (token.kind !== "option") continue;
    if (token.rawName === "--help" || token.rawName === "-h") help = true;
    else add(options, token.name, optionValue(specs, token));
  }
  return { options, args, help };
}

function optionValue(specs: OptionSpecs, token: { name: string; rawName: string; value?: string | undefined }): string {
  if (token.value !== undefined) return token.value;
  const spec = specs[token.name];
  if (spec === undefined) return "";
  if (spec.type !== "boolean") {
    throw new KeelsonError("option/invalid", `--${token.name} needs a value`, { hint: spec.help });
  }
  return token.rawName.startsWith("--no-") && token.name !== token.rawName.slice(2) ? "false" : "true";
}

function add(options: Map<string, string[]>, name: string, value: string): void {
  const values = options.get(name);
  if (values === undefined) options.set(name, [value]);
  else values.push(value);
}
