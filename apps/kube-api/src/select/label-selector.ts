import { apiErrors } from "../http/api-error.ts";

export type Labels = Readonly<Record<string, string>> | undefined;

/** Decides about a set of labels. */
export type LabelSelector = (labels: Labels) => boolean;

const namePattern = /^([a-zA-Z0-9.-]{1,253}\/)?[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$/;
const valuePattern = /^([a-zA-Z0-9]([-_.a-zA-Z0-9]*[a-zA-Z0-9])?)?$/;
const integerPattern = /^-?\d+$/;

/**
 * Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k`; undefined for an empty selector. Throws a 400 that names the part that
 * cannot be read. Source: apimachinery pkg/labels.
 */
export function parseLabelSelector(text: string | null): LabelSelector | undefined {
  if (text === null || text.trim() === "") return undefined;
  const requirements = splitTopLevel(text).map((part) => parseRequirement(part.trim()));
  return (labels) => requirements.every((requirement) => requirement(labels ?? {}));
}

/** Commas inside parentheses do not separate requirements. */
function splitTopLevel(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (character === "(") depth++;
    else if (character === ")") depth--;
    else if (character === "," && depth === 0) {
      parts.push(text.slice(start, index));
      start = index + 1;
    }
  }
  parts.push(text.slice(start));
  if (depth !== 0) throw unreadable(text, "its parentheses do not match");
  return parts;
}

type Requirement = (labels: Readonly<Record<string, string>>) => boolean;

function parseRequirement(part: string): Requirement {
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(part);
  if (set !== null) {
    const key = checkedKey(set[1]!, part);
    if (set[3]!.trim() === "") throw unreadable(part, "for 'in', 'notin' operators, values set can't be empty");
    const values = new Set(set[3]!.split(",").map((value) => checkedValue(value.trim(), part)));
    return set[2] === "in"
      ? (labels) => labels[key] !== undefined && values.has(labels[key])
      : (labels) => labels[key] === undefined || !values.has(labels[key]);
  }
  const comparison = /^([^=!<>\s]+)\s*(==|=|!=|>|<)\s*(\S*)$/.exec(part);
  if (comparison !== null) {
    const key = checkedKey(comparison[1]!, part);
    const value = checkedValue(comparison[3]!, part);
    const isOrder = comparison[2] === ">" || comparison[2] === "<";
    if (isOrder && !integerPattern.test(value))
      throw unreadable(part, "for 'Gt', 'Lt' operators, the value must be an integer");
    switch (comparison[2]) {
      case "!=":
        return (labels) => labels[key] !== value;
      case ">":
        return (labels) => integerPattern.test(labels[key] ?? "") && Number(labels[key]) > Number(value);
      case "<":
        return (labels) => integerPattern.test(labels[key] ?? "") && Number(labels[key]) < Number(value);
      default:
        return (labels) => labels[key] === value;
    }
  }
  if (part.startsWith("!")) {
    const key = checkedKey(part.slice(1).trim(), part);
    return (labels) => labels[key] === undefined;
  }
  const key = checkedKey(part, part);
  return (labels) => labels[key] !== undefined;
}

function checkedKey(key: string, part: string): string {
  if (!namePattern.test(key)) throw unreadable(part, `${JSON.stringify(key)} is no label key`);
  return key;
}

function checkedValue(value: string, part: string): string {
  if (value.length <= 63 && valuePattern.test(value)) return value;
  throw unreadable(part, `${JSON.stringify(value)} is no label value`);
}

function unreadable(part: string, why: string): Error {
  return apiErrors.badRequest(`unable to parse requirement: ${JSON.stringify(part)}: ${why}`);
}
