/**
 * Cuts a text into the JSON objects it holds one after another, as a streaming request of the gateway does. Only nesting
 * and strings are looked at; what is inside is the parser's business.
 */
export class JsonObjects {
  readonly #onObject: (text: string) => void;
  #text = "";
  #at = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;

  constructor(onObject: (text: string) => void) {
    this.#onObject = onObject;
  }

  push(chunk: string): void {
    this.#text += chunk;
    let start = 0;
    for (; this.#at < this.#text.length; this.#at++) {
      if (!this.#closes(this.#text[this.#at]!)) continue;
      this.#onObject(this.#text.slice(start, this.#at + 1));
      start = this.#at + 1;
    }
    this.#text = this.#text.slice(start);
    this.#at -= start;
  }

  /** Characters of an object that has not ended yet. */
  get pendingLength(): number {
    return this.#text.trim().length;
  }

  /** Takes one character; true when it ends an object. */
  #closes(character: string): boolean {
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (character === "\\") this.#escaped = true;
      else if (character === '"') this.#inString = false;
      return false;
    }
    if (character === '"') this.#inString = true;
    else if (character === "{") this.#depth++;
    else if (character === "}") return --this.#depth === 0;
    return false;
  }
}
