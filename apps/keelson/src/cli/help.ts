import type { OptionSpec, OptionSpecs } from "@keelson/service";
import type { Command, CommandModule } from "./command.ts";

/** `keelson --help` and the help of command groups. */
export function groupHelp(path: readonly string[], commands: readonly Command[]): string {
  const name = ["keelson", ...path].join(" ");
  const intro =
    path.length === 0 ? "The highly available control-plane plumbing of a small Kubernetes cluster.\n\n" : "";
  const rows = commands.map((command): [string, string] => [`  ${command.name}`, command.summary]);
  return `${intro}Usage: ${name} <command> [options]\n\nCommands:\n${table(rows)}\n${name} <command> --help shows a command's options.\n`;
}

/** A command's help: usage, then each option with its meaning, default and environment variable. */
export function commandHelp(
  path: readonly string[],
  summary: string,
  module: CommandModule,
  specs: OptionSpecs,
): string {
  const rows = Object.entries(specs)
    .filter(([, spec]) => !spec.hidden)
    .map(([name, spec]): [string, string] => [optionSyntax(name, spec), optionMeaning(spec)]);
  const usage = ["keelson", ...path, "[options]", module.usage ?? ""].join(" ").trim();
  return `${summary}\n\nUsage: ${usage}\n\nOptions:\n${table(rows)}`;
}

function optionSyntax(name: string, spec: OptionSpec): string {
  const value = spec.type === "boolean" ? "" : ` <${spec.placeholder ?? spec.type}>${spec.type === "list" ? "…" : ""}`;
  return `${spec.short === undefined ? "      " : `  -${spec.short}, `}--${name}${value}`;
}

function optionMeaning(spec: OptionSpec): string {
  const notes: string[] = [];
  const isEmpty = spec.default === undefined || (Array.isArray(spec.default) && spec.default.length === 0);
  if (!isEmpty && spec.default !== false && !spec.secret) notes.push(`default: ${String(spec.default)}`);
  if (spec.env !== undefined) notes.push(`env: ${[spec.env].flat().join(", ")}`);
  return notes.length === 0 ? spec.help : `${spec.help} (${notes.join("; ")})`;
}

function table(rows: readonly [string, string][]): string {
  const width = Math.min(44, Math.max(...rows.map(([left]) => left.length)) + 2);
  return rows
    .map(([left, right]) =>
      left.length < width ? `${left.padEnd(width)}${right}\n` : `${left}\n${"".padEnd(width)}${right}\n`,
    )
    .join("");
}
