import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Job, JobResult } from "./load.ts";

/** The load generator, in a process of its own so that it neither shares the server's thread nor its memory figures. */
export class LoadGenerator {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(url: string): Promise<LoadGenerator> {
    const child = fork(join(import.meta.dirname, "load-process.ts"), [url], { stdio: "inherit" });
    await answer(child);
    return new LoadGenerator(child);
  }

  async run(job: Job): Promise<JobResult> {
    const result = answer(this.#child);
    this.#child.send(job);
    return (await result) as JobResult;
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exit = once(this.#child, "exit");
    this.#child.disconnect();
    await exit;
  }
}

/** The next message of the child; rejects when it ends instead. */
async function answer(child: ChildProcess): Promise<unknown> {
  const waiting = new AbortController();
  try {
    const message = once(child, "message", { signal: waiting.signal }).then(([value]) => value as unknown);
    const exit = once(child, "exit", { signal: waiting.signal }).then(([code]) => {
      throw new Error(`the load generator ended with code ${code}`);
    });
    return await Promise.race([message, exit]);
  } finally {
    waiting.abort();
  }
}
