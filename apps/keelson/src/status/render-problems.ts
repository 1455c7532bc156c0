import type { Problem } from "@keelson/service";
import { formatDuration } from "../cli/table.ts";

/** The problems, numbered: what is wrong and since when, then what to do. Or that all is well. */
export function renderProblems(problems: readonly Problem[], nowMs: number): string {
  if (problems.length === 0) return "All is well.";
  const lines = problems.flatMap(({ what, since, advice }, index) => {
    const begun = since === undefined ? "" : ` (since ${clockTime(since)}, ${age(since, nowMs)} ago)`;
    return [`  ${index + 1}. ${what}${begun}`, `     -> ${advice}`];
  });
  return [problems.length === 1 ? "1 problem:" : `${problems.length} problems:`, ...lines].join("\n");
}

export function age(since: string, nowMs: number): string {
  return formatDuration(nowMs - Date.parse(since));
}

/** `2026-03-01 12:04:05`, this host's time: what people compare with their logs. */
function clockTime(since: string): string {
  const date = new Date(since);
  const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19).replace("T", " ");
}

/** `  label   value` lines under a title. */
export function renderFacts(title: string, facts: readonly (readonly [label: string, value: string])[]): string {
  const width = Math.max(...facts.map(([label]) => label.length));
  return [title, ...facts.map(([label, value]) => `  ${label.padEnd(width)}   ${value}`)].join("\n");
}

/** `0.4 ms`; empty before it was measured. */
export function milliseconds(value: number | undefined): string {
  return value === undefined ? "" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

/** `4, the first ends in 364 days (client-kubelet)`. */
export function certificateSummary(certificates: readonly { name: string; daysLeft: number }[]): string {
  const [first] = [...certificates].sort((a, b) => a.daysLeft - b.daysLeft);
  if (first === undefined) return "none yet";
  const end = first.daysLeft < 0 ? "has expired" : `ends in ${first.daysLeft} days`;
  return `${certificates.length}, the first ${end} (${first.name})`;
}
