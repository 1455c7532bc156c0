import { inspect } from "node:util";
import { show } from "./answers.ts";
import type { Step } from "./steps.ts";

/** A script and where its answers part, as a person reads it. */
export function describeDifference(script: readonly Step[], expected: unknown, actual: unknown): string {
  const steps = script.map((step, index) => `  ${index + 1}. ${describeStep(step)}`);
  const [shownExpected, shownActual] = withoutCommonLines(lines(expected), lines(actual));
  return `${steps.join("\n")}\netcd answers:\n${shownExpected}\nthe adapter answers:\n${shownActual}`;
}

const contextLines = 4;

/** Long answers shrink to where they part. */
function withoutCommonLines(expected: string[], actual: string[]): [string, string] {
  const shorter = Math.min(expected.length, actual.length);
  let same = 0;
  while (same < shorter && expected[same] === actual[same]) same++;
  let sameAtEnd = 0;
  while (sameAtEnd < shorter - same && expected.at(-1 - sameAtEnd) === actual.at(-1 - sameAtEnd)) sameAtEnd++;
  const cut = (all: string[]): string => {
    const from = Math.max(0, same - contextLines);
    const to = Math.min(all.length, all.length - sameAtEnd + contextLines);
    return [...(from > 0 ? ["  ..."] : []), ...all.slice(from, to), ...(to < all.length ? ["  ..."] : [])].join("\n");
  };
  return [cut(expected), cut(actual)];
}

/** One step on one line: what is at its default is left out. */
function describeStep(step: unknown): string {
  if (step === undefined) return "(no operation)";
  if (step instanceof Uint8Array) return JSON.stringify(show(step));
  if (Array.isArray(step)) return `[${step.map(describeStep).join(", ")}]`;
  if (typeof step !== "object" || step === null) return String(step);
  const { kind, ...fields } = step as Record<string, unknown>;
  const shown = Object.entries(fields)
    .filter(([, value]) => !isDefault(value))
    .map(([name, value]) => `${name}: ${describeStep(value)}`);
  return `${kind === undefined ? "" : `${kind} `}{ ${shown.join(", ")} }`;
}

function isDefault(value: unknown): boolean {
  if (value instanceof Uint8Array || Array.isArray(value)) return value.length === 0;
  return value === undefined || value === 0 || value === 0n || value === false;
}

function lines(value: unknown): string[] {
  return inspect(value, { depth: 12, breakLength: 140, sorted: true }).replace(/^/gm, "  ").split("\n");
}
