import type { RevisionRef } from "./steps.ts";

/**
 * The revisions one server has had since the script began, in order. The n-th of one server is the n-th of the other, so
 * answers are compared by that index: a write of several keys takes one revision in etcd and consecutive ones here.
 */
export class Revisions {
  readonly #known: number[];
  readonly #indexes = new Map<number, number>();

  constructor(first: number) {
    this.#known = [first];
    this.#indexes.set(first, 0);
  }

  get newest(): number {
    return this.#known.at(-1)!;
  }

  get count(): number {
    return this.#known.length;
  }

  /** Takes note of a response header's revision. */
  observe(revision: number): void {
    if (revision <= this.newest) return;
    this.#indexes.set(revision, this.#known.length);
    this.#known.push(revision);
  }

  /** The number this server has for a symbolic revision; 0 stands for "not given". */
  resolve(ref: RevisionRef | undefined): number {
    if (ref === undefined) return 0;
    if ("exactly" in ref) return ref.exactly;
    if ("ahead" in ref) return this.newest + ref.ahead;
    return this.#known[Math.max(0, this.#known.length - 1 - ref.back)]!;
  }

  /** The symbolic name of a number of this server: the same name on both servers means the same revision. */
  name(revision: number): string {
    if (revision === 0) return "none";
    const index = this.#indexes.get(revision);
    return index === undefined ? `unknown(${revision - this.#known[0]!} after the first)` : `r${index}`;
  }
}
