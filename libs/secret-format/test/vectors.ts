import { readFileSync } from "node:fs";

/** A recording of stock K3s, parsed. */
export function readVectors<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../../conformance/vectors/${name}`, import.meta.url), "utf8")) as T;
}
