import { resolve } from "node:path";
import { KeelsonError } from "./errors.ts";

/**
 * An option is declared once, as data; flags, environment variables, the config file, `--help`, shell completion and
 * docs all come from the declaration. Names are k3s's where the meaning is the same.
 */
export type OptionSpec = {
  /** One sentence for `--help`; becomes the user's documentation. */
  help: string;
  /** Environment variable(s), first one wins. */
  env?: string | readonly string[];
  /** One-letter flag. */
  short?: string;
  /** What the value stands for in `--help`: `--data-dir <dir>`. */
  placeholder?: string;
  /** Left out of `--help` and completion. */
  hidden?: boolean;
  /** Never printed, not even as a default. */
  secret?: boolean;
  /** Gives the same thing as that option in another form: where a higher source names one, lower ones' other is void. */
  insteadOf?: string;
} /** `isPath`: a relative value is made absolute. `oneOf`: all that is taken. */ & (
  | { type: "string"; default?: string; isPath?: boolean; oneOf?: readonly string[] }
  | { type: "number"; default?: number }
  | { type: "boolean"; default?: boolean }
  /** Repeatable; a single value may also be a comma list. */
  | { type: "list"; default?: readonly string[]; keepCommas?: boolean }
  /** Go-style duration (`1h30m`, `500ms`); the value is in milliseconds. */
  | { type: "duration"; default?: string }
);

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

type Value<S extends OptionSpec> = S extends { type: "string" }
  ? S extends { oneOf: readonly (infer Word)[] }
    ? Word
    : string
  : S extends { type: "number" } | { type: "duration" }
    ? number
    : S extends { type: "boolean" }
      ? boolean
      : readonly string[];

/** The parsed values of a set of specs: a value is optional only when its spec has no default. */
export type OptionValues<Specs extends OptionSpecs> = {
  readonly [Name in keyof Specs]: Specs[Name] extends { default: unknown } | { type: "boolean" } | { type: "list" }
    ? Value<Specs[Name]>
    : Value<Specs[Name]> | undefined;
};

/** Keeps the literal types of a declaration, so that {@link OptionValues} knows each value's type. */
export function defineOptions<const Specs extends OptionSpecs>(specs: Specs): Specs {
  return specs;
}

/** Raw values of one source, by long option name; a list has one entry per occurrence. */
export type RawOptions = ReadonlyMap<string, readonly string[]>;

/**
 * Merges the sources, highest first (flags, environment, config files), fills in defaults and parses every value.
 * Throws `option/unknown` and `option/invalid` naming the option and where its value came from.
 */
export function resolveOptions<Specs extends OptionSpecs>(
  specs: Specs,
  sources: readonly { from: string; values: RawOptions }[],
): OptionValues<Specs> {
  for (const source of sources) {
    for (const name of source.values.keys()) {
      if (specs[name] === undefined) throw unknownOption(specs, name, source.from);
    }
  }
  const rank = (name: string): number => sources.findIndex(({ values }) => values.has(name));
  const isVoid = (name: string): boolean =>
    Object.entries(specs).some(([other, { insteadOf }]) => {
      const twin = other === name ? insteadOf : insteadOf === name ? other : undefined;
      return twin !== undefined && rank(twin) >= 0 && rank(twin) < rank(name);
    });
  const result: Record<string, unknown> = {};
  for (const [name, spec] of Object.entries(specs)) {
    const source = isVoid(name) ? undefined : sources[rank(name)];
    result[name] =
      source === undefined ? defaultOf(spec) : parseValue(name, spec, source.values.get(name) ?? [], source.from);
  }
  return result as OptionValues<Specs>;
}

/** The values that the environment gives to these options. */
export function optionsFromEnvironment(specs: OptionSpecs, env: NodeJS.ProcessEnv): RawOptions {
  const values = new Map<string, readonly string[]>();
  for (const [name, spec] of Object.entries(specs)) {
    const variables = spec.env === undefined ? [] : typeof spec.env === "string" ? [spec.env] : spec.env;
    const found = variables.map((variable) => env[variable]).find((value) => value !== undefined && value !== "");
    if (found !== undefined) values.set(name, [found]);
  }
  return values;
}

function defaultOf(spec: OptionSpec): unknown {
  switch (spec.type) {
    case "boolean":
      return spec.default ?? false;
    case "list":
      return spec.default ?? [];
    case "duration":
      return spec.default === undefined ? undefined : parseDuration(spec.default);
    default:
      return spec.default;
  }
}

function parseValue(name: string, spec: OptionSpec, raw: readonly string[], from: string): unknown {
  const last = raw.at(-1) ?? "";
  const invalid = (expected: string): KeelsonError =>
    new KeelsonError("option/invalid", `--${name} (from ${from}) must be ${expected}`, {
      hint: `got ${spec.secret ? "a value that is not shown" : JSON.stringify(last)}`,
    });
  switch (spec.type) {
    case "string":
      if (spec.oneOf?.includes(last) === false) throw invalid(`one of ${spec.oneOf.join(", ")}`);
      return spec.isPath ? resolve(last) : last;
    case "number": {
      const value = Number(last);
      if (last.trim() === "" || !Number.isFinite(value)) throw invalid("a number");
      return value;
    }
    case "boolean":
      if (["true", "1", "yes", ""].includes(last.toLowerCase())) return true;
      if (["false", "0", "no"].includes(last.toLowerCase())) return false;
      throw invalid("true or false");
    case "list":
      return spec.keepCommas ? raw : raw.flatMap((value) => value.split(",")).filter((value) => value !== "");
    case "duration":
      try {
        return parseDuration(last);
      } catch {
        throw invalid("a duration such as 500ms, 30s or 1h30m");
      }
  }
}

const unitsMs: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 };

/** Parses a Go-style duration into milliseconds; a bare number is seconds. Throws a RangeError on anything else. */
export function parseDuration(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1_000;
  if (!/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h|d))+$/.test(text)) throw new RangeError(`invalid duration ${text}`);
  let total = 0;
  for (const match of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)/g)) {
    total += Number(match[1]) * unitsMs[match[2]!]!;
  }
  return total;
}

function unknownOption(specs: OptionSpecs, name: string, from: string): KeelsonError {
  const near = Object.keys(specs)
    .filter((candidate) => !specs[candidate]!.hidden)
    .map((candidate) => ({ candidate, distance: editDistance(candidate, name) }))
    .sort((a, b) => a.distance - b.distance)[0];
  const hint =
    near !== undefined && near.distance <= 3 ? `did you mean "${near.candidate}"?` : "see --help for all options";
  return new KeelsonError("option/unknown", `unknown option "${name}" in ${from}`, { hint });
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}
