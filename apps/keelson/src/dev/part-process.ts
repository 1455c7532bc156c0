import { type ChildProcess, fork } from "node:child_process";
import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { KeelsonError } from "@keelson/service";
import { isStepMessage, type Step } from "../steps.ts";
import type { PlannedProcess } from "./plan.ts";

const launcher = join(import.meta.dirname, "..", "..", "bin", "keelson.js");
/** Lines of a failed part's output that are shown with its error. */
const shownLines = 6;

/** One server or agent of a local cluster, as a child process whose log goes to a file in its data directory. */
export class PartProcess {
  readonly plan: PlannedProcess;
  readonly logFile: string;
  /** Resolves when the process has ended; never rejects. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly #child: ChildProcess;
  readonly #reached = new Set<Step>();
  readonly #waiting: { step: Step; resolve: () => void }[] = [];
  #lastLines: string[] = [];

  private constructor(plan: PlannedProcess, child: ChildProcess, onStep: (step: Step, detail: string) => void) {
    this.plan = plan;
    this.logFile = join(plan.dataDir, "log");
    this.#child = child;
    const log = createWriteStream(this.logFile, { flags: "a", mode: 0o600 });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        log.write(chunk);
        this.#lastLines = [...this.#lastLines, ...chunk.toString().split("\n")].filter((line) => line !== "");
        this.#lastLines = this.#lastLines.slice(-shownLines);
      });
    }
    child.on("message", (message) => {
      if (!isStepMessage(message)) return;
      this.#reached.add(message.step);
      onStep(message.step, message.detail);
      for (const waiter of this.#waiting) if (waiter.step === message.step) waiter.resolve();
    });
    this.ended = new Promise((resolve) => {
      child.on("close", (code, signal) => {
        log.end();
        resolve({ code, signal });
      });
      child.on("error", (error) => {
        this.#lastLines.push(error.message);
        resolve({ code: 1, signal: null });
      });
    });
  }

  /** Starts the part. `secrets` go through its environment, so that no process list shows them. */
  static async start(
    plan: PlannedProcess,
    secrets: Record<string, string>,
    onStep: (step: Step, detail: string) => void,
  ): Promise<PartProcess> {
    await mkdir(plan.dataDir, { recursive: true, mode: 0o700 });
    const child = fork(launcher, [...plan.args], {
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      env: { ...process.env, ...secrets },
      // Ctrl-C reaches the whole foreground process group; the parent decides the order in which parts stop.
      detached: true,
    });
    return new PartProcess(plan, child, onStep);
  }

  /** Resolves when the part has reported the step; rejects with its last words when it ends before. */
  async reached(step: Step): Promise<void> {
    if (this.#reached.has(step)) return;
    const reached = new Promise<void>((resolve) => this.#waiting.push({ step, resolve }));
    const died = this.ended.then(({ code, signal }) => {
      throw this.failure(code, signal);
    });
    await Promise.race([reached, died]);
  }

  /** The error that says why the part ended, in the part's own words. */
  failure(code: number | null, signal: NodeJS.Signals | null): KeelsonError {
    const own = this.#lastLines.filter((line) => line.startsWith("keelson: ") || line.startsWith("  "));
    const words = (own.length > 0 ? own : this.#lastLines).map((line) => line.replace(/^keelson: /, ""));
    const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
    return new KeelsonError("dev/part-ended", `${this.plan.name}: ${words[0] ?? `ended with ${how}`}`, {
      hint: [...words.slice(1).map((line) => line.trim()), `its log: ${this.logFile}`].join("; "),
    });
  }

  /** Asks the part to stop and waits until it has. */
  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill("SIGTERM");
    await this.ended;
  }
}
