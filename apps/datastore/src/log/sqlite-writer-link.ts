import { once } from "node:events";
import { getCompileCacheDir } from "node:module";
import { dirname } from "node:path";
import { Worker } from "node:worker_threads";
import type { WriterAnswer, WriterRequest } from "./sqlite-writer.ts";

/** The writer thread (see sqlite-writer.ts) as the main thread asks it. */
export class SqliteWriterLink {
  readonly #path: string;
  #writer: Worker | undefined;
  #gone: Error | undefined;
  /** Requests that are not answered, oldest first: it answers in order. */
  readonly #unanswered: { resolve: (answer: WriterAnswer) => void; reject: (error: Error) => void }[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  /** The thread was started and has ended. */
  get isGone(): boolean {
    return this.#gone !== undefined;
  }

  /** Starts the thread, also after it was lost. Rejects when it cannot open the file. */
  async start(): Promise<void> {
    const compileCache = getCompileCacheDir();
    const writer = new Worker(new URL("./sqlite-writer.ts", import.meta.url), {
      workerData: { path: this.#path },
      // Without the cache the thread would load the type stripper for itself: 30 MiB and half a second.
      env: compileCache === undefined ? process.env : { ...process.env, NODE_COMPILE_CACHE: dirname(compileCache) },
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    });
    this.#writer = writer;
    this.#gone = undefined;
    writer.on("message", (answer: WriterAnswer) => this.#unanswered.shift()?.resolve(answer));
    writer.on("error", (error) => this.#lose(error));
    writer.on("exit", (code) => this.#lose(new Error(`the SQLite writer thread ended with code ${code}`)));
    await this.ask({ kind: "reset" });
  }

  /** Rejects when the thread is lost before it answers. */
  ask(request: WriterRequest, transfer: ArrayBuffer[] = []): Promise<WriterAnswer> {
    return new Promise((resolve, reject) => {
      if (this.#gone !== undefined) return reject(this.#gone);
      this.#unanswered.push({ resolve, reject });
      this.#writer!.postMessage(request, transfer);
    });
  }

  /** Lets the thread finish and end. */
  async close(): Promise<void> {
    if (this.#writer === undefined || this.#gone !== undefined) return;
    const exited = once(this.#writer, "exit");
    await this.ask({ kind: "close" });
    await exited;
  }

  #lose(error: Error): void {
    this.#gone ??= error;
    for (const request of this.#unanswered.splice(0)) request.reject(error);
  }
}
