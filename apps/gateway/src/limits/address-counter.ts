/** Counts what each peer address holds, and says when one has enough. */
export class AddressCounter {
  readonly #limit: number;
  readonly #counts = new Map<string, number>();

  /** @param limit the most that one address may hold; 0 = no limit */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Takes one for `address`; undefined when it is at its limit, else the function that gives it back (once). */
  take(address: string): (() => void) | undefined {
    const held = this.#counts.get(address) ?? 0;
    if (this.#limit > 0 && held >= this.#limit) return undefined;
    this.#counts.set(address, held + 1);
    let given = false;
    return () => {
      if (given) return;
      given = true;
      const left = (this.#counts.get(address) ?? 1) - 1;
      if (left > 0) this.#counts.set(address, left);
      else this.#counts.delete(address);
    };
  }
}
