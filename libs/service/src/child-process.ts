import { type ChildProcess, spawn } from "node:child_process";
import { Backoff, type BackoffOptions } from "./backoff.ts";
import { LineSplitter, parseChildLog } from "./child-log.ts";
import { ChildPidFile, signalGroup } from "./child-pid-file.ts";
import { type Clock, systemClock, type Timer } from "./clock.ts";
import { errorCode, errorMessage, KeelsonError } from "./errors.ts";
import type { Service } from "./lifecycle.ts";
import { type Logger, silentLogger } from "./logger.ts";

/**
 * - `stopped`: not started, or stopped by us.
 * - `starting`: the process runs, its readiness check has not passed yet.
 * - `ready`: the process runs and is ready.
 * - `waiting`: it ended by itself; the next start waits for the back-off.
 * - `ended`: it ended by itself and `onExit` said not to start it again.
 */
export type ChildState = "stopped" | "starting" | "ready" | "waiting" | "ended";

/** How a child ended. */
export interface ChildExit {
  /** Exit code; null when a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  /** How long it ran. */
  uptimeMs: number;
  /** The last lines it printed, oldest first. */
  lastLines: readonly string[];
}

export interface ChildProcessOptions {
  /** What the logs and errors call it (`etcd`, `kubelet`). */
  name: string;
  /** Program: a path, or a name looked up in PATH. */
  command: string;
  /** Arguments; a function is asked again at every start, so that a restart sees changed addresses. */
  args?: readonly string[] | (() => readonly string[]);
  /** Added to our own environment; undefined removes a variable. */
  env?: Readonly<Record<string, string | undefined>>;
  cwd?: string;
  /** Passes (resolves) once the child serves; asked every `readyIntervalMs`. Without it a running child is ready. */
  ready?: (signal: AbortSignal) => Promise<void>;
  /** Milliseconds between two readiness checks (200). */
  readyIntervalMs?: number;
  /** How long `start` waits for the first readiness, restarts included, in milliseconds (60000). */
  startTimeoutMs?: number;
  /** How long a child has to end after SIGTERM before SIGKILL, in milliseconds (10000). */
  stopTimeoutMs?: number;
  /** Delays between restarts. The back-off starts over once a child ran for `stableAfterMs`. */
  backoff?: BackoffOptions;
  /** Milliseconds of uptime after which the next crash is treated as the first (10000). */
  stableAfterMs?: number;
  /** Its informational lines go to our debug level: it says more than people want to read (false). */
  quiet?: boolean;
  /**
   * Holds the child's process id while it runs. When we were killed and could not stop it, the next start finds the
   * orphan through this file and ends it first, so that two never share a data directory.
   */
  pidFile?: string;
  /** Decides about a child that ended by itself: true starts it again (always true). */
  onExit?: (exit: ChildExit) => boolean;
}

const defaultStopTimeoutMs = 10_000;
/** Enough for what a program says on its way out after it has said why: etcd takes leave of each peer in several lines. */
const keptLines = 200;

/**
 * A program that we run and keep running. It gets a process group of its own: a Ctrl-C in our terminal does not reach it
 * before our ordered shutdown does, and a stop ends what it started too. Its output goes to our log, line by line.
 */
export class SupervisedChild implements Service {
  readonly #options: ChildProcessOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #pidFile: ChildPidFile | undefined;
  #state: ChildState = "stopped";
  #sinceMs: number;
  #process: ChildProcess | undefined;
  #exited: Promise<ChildExit> | undefined;
  #restartTimer: Timer | undefined;
  #readiness: AbortController | undefined;
  /** A child in its back-off is still ours: our process must not end meanwhile, though the clock's timers would let it. */
  #keepAlive: NodeJS.Timeout | undefined;
  #restarts = 0;
  #lastExit: ChildExit | undefined;
  #waiters: { resolve: () => void; reject: (error: KeelsonError) => void }[] = [];

  constructor(options: ChildProcessOptions, deps: { log?: Logger; clock?: Clock } = {}) {
    this.#options = options;
    this.#log = (deps.log ?? silentLogger).child({ component: options.name });
    this.#clock = deps.clock ?? systemClock;
    this.#backoff = new Backoff(options.backoff ?? { initialMs: 500, maxMs: 30_000 });
    if (options.pidFile !== undefined) {
      this.#pidFile = new ChildPidFile(options.pidFile, { log: this.#log, clock: this.#clock });
    }
    this.#sinceMs = this.#clock.monotonic();
  }

  get state(): ChildState {
    return this.#state;
  }

  /** When it became ready, or when it last was; of the monotonic clock. */
  get sinceMs(): number {
    return this.#sinceMs;
  }

  /** Process id while it runs. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** How often it was started again after ending by itself. */
  get restarts(): number {
    return this.#restarts;
  }

  /** How it ended the last time, if it did. */
  get lastExit(): ChildExit | undefined {
    return this.#lastExit;
  }

  /** Starts the child and waits until it is ready. Throws `child/not-found`, `child/ended`, `child/not-ready`. */
  async start(): Promise<void> {
    if (this.#state !== "stopped" && this.#state !== "ended") return this.whenReady();
    this.#enter("starting");
    this.#keepAlive = setInterval(() => {}, 3_600_000);
    await this.#pidFile?.endOrphan(this.#options.stopTimeoutMs ?? defaultStopTimeoutMs);
    this.#backoff.reset();
    const timer = this.#clock.setTimeout(() => {
      this.#settle(this.#failure("child/not-ready", "did not become ready in time"));
    }, this.#options.startTimeoutMs ?? 60_000);
    this.#launch();
    try {
      await this.whenReady();
    } catch (error) {
      await this.stop();
      throw error;
    } finally {
      timer.cancel();
    }
  }

  /** Resolves when the child is ready (now or after its next restart); rejects when it will not be. */
  whenReady(): Promise<void> {
    if (this.#state === "ready") return Promise.resolve();
    if (this.#state === "ended") return Promise.reject(this.#failure("child/ended", "ended"));
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
    });
  }

  /** Ends the child (SIGTERM, then SIGKILL to its whole group) and starts it again with its current arguments. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async stop(): Promise<void> {
    this.#enter("stopped");
    clearInterval(this.#keepAlive);
    this.#restartTimer?.cancel();
    this.#readiness?.abort();
    const { pid } = this.#process ?? {};
    if (pid !== undefined && this.#exited !== undefined) {
      signalGroup(pid, "SIGTERM");
      const kill = this.#clock.setTimeout(() => {
        this.#log.warn({ pid }, "did not end after SIGTERM, killing it");
        signalGroup(pid, "SIGKILL");
      }, this.#options.stopTimeoutMs ?? defaultStopTimeoutMs);
      await this.#exited;
      kill.cancel();
    }
    this.#settle(new KeelsonError("child/stopped", `${this.#options.name} was stopped before it was ready`));
  }

  #launch(): void {
    const { name, command, cwd } = this.#options;
    const args = typeof this.#options.args === "function" ? this.#options.args() : (this.#options.args ?? []);
    const startedAt = this.#clock.monotonic();
    const lastLines: string[] = [];
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...this.#options.env },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    this.#process = child;
    this.#enter("starting");
    const onLine = (line: string): void => {
      lastLines.push(line);
      if (lastLines.length > keptLines) lastLines.shift();
      const { level, message } = parseChildLog(line);
      this.#log[level === "info" && this.#options.quiet ? "debug" : level](message);
    };
    for (const stream of [child.stdout, child.stderr]) {
      const splitter = new LineSplitter(onLine);
      stream.on("data", (chunk: Buffer) => splitter.push(chunk));
      stream.on("end", () => splitter.end());
    }
    const endWithUs = (): void => {
      if (child.pid !== undefined) signalGroup(child.pid, "SIGKILL");
    };
    process.once("exit", endWithUs);
    child.once("error", (error) => {
      process.off("exit", endWithUs);
      // No process came to be; anything else that fails later (a kill) is reported by its caller.
      if (child.pid === undefined) this.#onSpawnFailure(error);
    });
    if (child.pid === undefined) return;
    this.#log.info({ pid: child.pid }, `started ${name}`);
    const pidWritten = this.#pidFile?.write(child.pid);
    this.#exited = new Promise((resolve) => {
      // "close" comes after the last output was read, so that the last lines are complete; a grandchild that holds the
      // pipes would keep it from coming, so the group is ended as soon as its leader is gone.
      child.once("exit", () => signalGroup(child.pid!, "SIGKILL"));
      child.once("close", async (code, signal) => {
        process.off("exit", endWithUs);
        await pidWritten;
        await this.#pidFile?.remove();
        const exit = { code, signal, uptimeMs: this.#clock.monotonic() - startedAt, lastLines };
        this.#onExit(exit);
        resolve(exit);
      });
    });
    this.#readiness = new AbortController();
    this.#pollReady(child, this.#readiness.signal);
  }

  #pollReady(child: ChildProcess, signal: AbortSignal): void {
    const check = this.#options.ready?.(signal) ?? Promise.resolve();
    check.then(
      () => {
        if (signal.aborted || this.#process !== child) return;
        this.#enter("ready");
        this.#settle(undefined);
      },
      (error: unknown) => {
        if (signal.aborted) return;
        this.#log.debug({ err: error }, "not ready yet");
        const timer = this.#clock.setTimeout(
          () => this.#pollReady(child, signal),
          this.#options.readyIntervalMs ?? 200,
        );
        signal.addEventListener("abort", () => timer.cancel(), { once: true });
      },
    );
  }

  #onSpawnFailure(error: Error): void {
    const { name, command } = this.#options;
    this.#process = undefined;
    this.#enter("ended");
    this.#settle(
      new KeelsonError("child/not-found", `cannot run ${name}: ${errorMessage(error)}`, {
        hint: errorCode(error) === "ENOENT" ? `install ${name}, or name its path (tried ${command})` : undefined,
        cause: error,
      }),
    );
  }

  #onExit(exit: ChildExit): void {
    this.#process = undefined;
    this.#exited = undefined;
    this.#readiness?.abort();
    this.#lastExit = exit;
    if (this.#state === "stopped") return;
    const how = exit.signal ?? `code ${exit.code}`;
    if (!(this.#options.onExit?.(exit) ?? true)) {
      this.#log.info({ exit: how }, "ended and is not started again");
      this.#enter("ended");
      this.#settle(this.#failure("child/ended", `ended (${how})`));
      return;
    }
    if (exit.uptimeMs >= (this.#options.stableAfterMs ?? 10_000)) this.#backoff.reset();
    const delayMs = this.#backoff.next();
    this.#log.warn({ exit: how, delayMs: Math.round(delayMs) }, "ended, will be started again");
    this.#enter("waiting");
    this.#restartTimer = this.#clock.setTimeout(() => {
      this.#restarts++;
      this.#launch();
    }, delayMs);
  }

  #enter(state: ChildState): void {
    if ((state === "ready") !== (this.#state === "ready")) this.#sinceMs = this.#clock.monotonic();
    this.#state = state;
  }

  #failure(code: string, what: string): KeelsonError {
    const lines = this.#lastExit?.lastLines.slice(-3).join(" | ") ?? "";
    return new KeelsonError(code, `${this.#options.name} ${what}${lines === "" ? "" : `; it last said: ${lines}`}`, {
      hint: `look at the log lines of ${this.#options.name} above`,
    });
  }

  #settle(error: KeelsonError | undefined): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) {
      if (error === undefined) waiter.resolve();
      else waiter.reject(error);
    }
  }
}
