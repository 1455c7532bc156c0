import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type ChildProcessOptions, createLogger, SupervisedChild } from "../src/index.ts";

let directory: string;
let children: SupervisedChild[];
let lines: string[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "keelson-child-"));
  children = [];
  lines = [];
});

afterEach(async () => {
  await Promise.all(children.map((child) => child.stop()));
  await rm(directory, { recursive: true });
});

function supervise(script: string, options: Partial<ChildProcessOptions> = {}): SupervisedChild {
  const log = createLogger({
    name: "test",
    level: "debug",
    format: "json",
    destination: { write: (line) => lines.push(line) },
  });
  const child = new SupervisedChild(
    { name: "sleeper", command: "/bin/sh", args: ["-c", script], backoff: { initialMs: 10, maxMs: 20 }, ...options },
    { log },
  );
  children.push(child);
  return child;
}

const fileReady = (path: string) => async (): Promise<void> => {
  if (!existsSync(path)) throw new Error("no file yet");
};

function isAlive(pid: number): boolean {
  try {
    // A zombie waits for its parent only; where the parent is an init that does not reap, it may wait for long.
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

describe("start", () => {
  test("waits for readiness", async () => {
    const marker = join(directory, "ready");
    const child = supervise(`sleep 0.2; touch ${marker}; exec sleep 60`, {
      ready: fileReady(marker),
      readyIntervalMs: 10,
    });
    await child.start();
    expect(existsSync(marker)).toBe(true);
    expect(child.state).toBe("ready");
  });

  test("names a program that does not exist and what to do", async () => {
    const child = supervise("", { command: join(directory, "missing") });
    await expect(child.start()).rejects.toMatchObject({ code: "child/not-found", hint: expect.stringMatching(/path/) });
  });

  test("gives up when readiness never comes, says the last words, and leaves nothing running", async () => {
    const child = supervise("echo cannot bind; exit 3", {
      ready: () => Promise.reject(new Error("refused")),
      startTimeoutMs: 300,
    });
    await expect(child.start()).rejects.toMatchObject({
      code: "child/not-ready",
      message: expect.stringMatching(/cannot bind/),
    });
    expect(child.pid).toBeUndefined();
    expect(child.state).toBe("stopped");
  });
});

describe("a child that ends by itself", () => {
  test("is started again", async () => {
    const child = supervise("exec sleep 60");
    await child.start();
    const first = child.pid!;
    process.kill(first, "SIGKILL");
    await expect.poll(() => child.restarts).toBe(1);
    await child.whenReady();
    expect(child.pid).not.toBe(first);
    expect(child.lastExit?.signal).toBe("SIGKILL");
  });

  test("stays down when onExit says so", async () => {
    const child = supervise("sleep 0.1; echo removed; exit 0", {
      onExit: (exit) => !exit.lastLines.includes("removed"),
    });
    await child.start();
    await expect.poll(() => child.state).toBe("ended");
    await expect(child.whenReady()).rejects.toMatchObject({ code: "child/ended" });
  });

  test("is asked for its arguments at each start", async () => {
    let round = 0;
    const child = supervise("", { args: () => ["-c", `echo round ${++round}; exec sleep 60`] });
    await child.start();
    await child.restart();
    await expect.poll(() => lines.join("")).toMatch(/round 2/);
  });
});

describe("stop", () => {
  test("kills a child that ignores SIGTERM, and what it started", async () => {
    const pidFile = join(directory, "grandchild");
    const child = supervise(`trap '' TERM; sleep 60 & echo $! > ${pidFile}; wait; sleep 60`, {
      stopTimeoutMs: 100,
      ready: fileReady(pidFile),
      readyIntervalMs: 10,
    });
    await child.start();
    const parent = child.pid!;
    const grandchild = Number(await readFile(pidFile, "utf8"));
    await child.stop();
    expect(isAlive(parent)).toBe(false);
    await expect.poll(() => isAlive(grandchild)).toBe(false);
  });

  test("is safe twice and before start", async () => {
    const child = supervise("exec sleep 60");
    await child.stop();
    await child.start();
    await Promise.all([child.stop(), child.stop()]);
    expect(child.state).toBe("stopped");
  });

  test("during the back-off keeps it from coming back", async () => {
    const child = supervise("exit 1", { backoff: { initialMs: 60_000, maxMs: 60_000 } });
    await child.start();
    await expect.poll(() => child.state).toBe("waiting");
    await child.stop();
    expect(child.pid).toBeUndefined();
  });
});

test("an orphan of an earlier run is ended through the pid file before the next start", async () => {
  const pidFile = join(directory, "child.pid");
  const earlier = supervise("exec sleep 60", { pidFile });
  await earlier.start();
  await expect.poll(() => existsSync(pidFile)).toBe(true);
  const orphan = earlier.pid!;
  const next = supervise("exec sleep 60", { pidFile });
  // The earlier supervisor would restart it; it stands for one that was killed, so it must not.
  const gone = expect.poll(() => isAlive(orphan)).toBe(false);
  await next.start();
  await gone;
  expect(next.pid).not.toBe(orphan);
});

test("output goes to the log with its own level", async () => {
  const child = supervise(
    `echo plain; echo 'W1122 10:00:00.000001      12 server.go:1] disk is full' >&2
     echo '{"level":"error","ts":"x","caller":"y","msg":"no leader","member":"a"}'; exec sleep 60`,
  );
  await child.start();
  await expect.poll(() => lines.join("")).toMatch(/no leader member=/);
  const entries = lines.map((line) => JSON.parse(line) as { level: string; msg: string });
  expect(entries).toContainEqual(expect.objectContaining({ level: "info", msg: "plain" }));
  expect(entries).toContainEqual(expect.objectContaining({ level: "warn", msg: "server.go:1: disk is full" }));
  expect(entries).toContainEqual(expect.objectContaining({ level: "error", msg: 'no leader member="a"' }));
});
