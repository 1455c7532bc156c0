import type { Step } from "../steps.ts";

/** Prints what comes up, one line a step, with the time since the start: what a person watches. */
export class Progress {
  readonly #startMs = performance.now();
  readonly #write: (text: string) => void;
  readonly #showNames: boolean;

  constructor(options: { write: (text: string) => void; showNames: boolean }) {
    this.#write = options.write;
    this.#showNames = options.showNames;
  }

  get elapsedSeconds(): string {
    return ((performance.now() - this.#startMs) / 1_000).toFixed(2);
  }

  step(part: string, step: Step, detail: string): void {
    if (step === "ready") return;
    const who = this.#showNames ? `${part.padEnd(10)}` : "";
    this.#write(`  ${this.elapsedSeconds.padStart(6)} s  ${who}${step.padEnd(13)} ${detail}\n`);
  }

  line(text = ""): void {
    this.#write(`${text}\n`);
  }
}
