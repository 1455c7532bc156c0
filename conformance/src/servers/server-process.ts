import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** How to run a program. */
export interface ServerCommand {
  name: string;
  file: string;
  args: readonly string[];
  env?: Record<string, string>;
  user?: { uid: number; gid: number } | undefined;
  /** Polled after each start until it resolves to true. */
  ready: (output: string) => Promise<boolean> | boolean;
  /** Asks for an orderly end. @default SIGTERM */
  stopSignal?: NodeJS.Signals;
}

const startTimeoutMs = 60_000;
const stopTimeoutMs = 20_000;
const pollMs = 20;
const keptOutputChars = 20_000;

/** Children that are alive, so that none outlives a test run that ends early. */
const alive = new Set<ChildProcess>();
function killAll(): void {
  for (const child of alive) child.kill("SIGKILL");
}
process.once("exit", killAll);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    killAll();
    process.kill(process.pid, signal); // the default, now that this handler is gone
  });
}

/** A program that tests start, crash, pause and start again on the same data. */
export class ServerProcess {
  readonly #command: ServerCommand;
  #child: ChildProcess | undefined;
  #output = "";

  constructor(command: ServerCommand) {
    this.#command = command;
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error(`${this.#command.name} is not running`);
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** What the program printed, the newest part. */
  get output(): string {
    return this.#output;
  }

  /** Starts the program and waits until it is ready. */
  async start(): Promise<void> {
    await this.launch();
    await this.ready();
  }

  /** Starts the program without waiting. */
  async launch(): Promise<void> {
    const { name, file, args, env, user } = this.#command;
    if (this.#child !== undefined) throw new Error(`${name} runs already`);
    this.#output = "";
    const child = spawn(file, [...args], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      ...(user === undefined ? {} : { uid: user.uid, gid: user.gid }),
    });
    this.#child = child;
    alive.add(child);
    const collect = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString()).slice(-keptOutputChars);
    };
    child.stdout.on("data", collect);
    child.stderr.on("data", collect);
    child.once("exit", () => {
      alive.delete(child);
      if (this.#child === child) this.#child = undefined;
    });
    await once(child, "spawn");
  }

  async ready(): Promise<void> {
    const { name, ready } = this.#command;
    const deadline = performance.now() + startTimeoutMs;
    while (!(await ready(this.#output))) {
      if (!this.running) throw new Error(`${name} ended before it was ready:\n${this.#output}`);
      if (performance.now() > deadline) throw new Error(`${name} was not ready in time:\n${this.#output}`);
      await delay(pollMs);
    }
  }

  /** Orderly end, by force when it takes too long. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const exit = once(child, "exit");
    child.kill("SIGCONT");
    child.kill(this.#command.stopSignal ?? "SIGTERM");
    const force = setTimeout(() => child.kill("SIGKILL"), stopTimeoutMs);
    await exit;
    clearTimeout(force);
  }

  /** `kill -9`, or another signal that ends the program. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const exit = once(child, "exit");
    child.kill(signal);
    await exit;
  }

  pause(): void {
    this.#child?.kill("SIGSTOP");
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
  }
}

/** Below where systems take the ports of outgoing connections from (32768 on Linux): one of those could be taken any time. */
const portsFrom = 15_000;
const portsTo = 32_000;

/** Ports nobody listens on at the moment; they stay free over restarts of who is given them. */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = [];
  while (servers.length < count) {
    const server = createServer();
    server.listen(randomInt(portsFrom, portsTo), "127.0.0.1");
    const isFree = await once(server, "listening").then(
      () => true,
      () => false,
    );
    if (isFree) servers.push(server);
  }
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(
    servers.map(async (server) => {
      server.close();
      await once(server, "close");
    }),
  );
  return ports;
}

export async function freePort(): Promise<number> {
  return (await freePorts(1))[0]!;
}

/** Whether something accepts connections there. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
