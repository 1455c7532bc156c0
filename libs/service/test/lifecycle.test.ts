import { describe, expect, it } from "vitest";
import {
  Backoff,
  createLogger,
  errorMessage,
  KeelsonError,
  Lifecycle,
  ManualClock,
  silentLogger,
} from "../src/index.ts";

const recorder = (events: string[], name: string, failsAt?: "start" | "stop") => ({
  async start() {
    events.push(`start ${name}`);
    if (failsAt === "start") throw new Error(`${name} cannot start`);
  },
  async stop() {
    events.push(`stop ${name}`);
    if (failsAt === "stop") throw new Error(`${name} cannot stop`);
  },
});

describe("lifecycle", () => {
  it("stops in reverse, past a stop that fails", async () => {
    const events: string[] = [];
    const lifecycle = new Lifecycle(silentLogger);
    await lifecycle.run("a", recorder(events, "a"));
    await lifecycle.run("b", recorder(events, "b", "stop"));
    await lifecycle.stop();
    await lifecycle.stop();
    expect(events).toEqual(["start a", "start b", "stop b", "stop a"]);
  });

  it("stops what runs when a later part cannot start", async () => {
    const events: string[] = [];
    const lifecycle = new Lifecycle(silentLogger);
    await lifecycle.run("a", recorder(events, "a"));
    await expect(lifecycle.run("b", recorder(events, "b", "start"))).rejects.toThrow("b cannot start");
    expect(events).toEqual(["start a", "start b", "stop b", "stop a"]);
  });
});

describe("manual clock", () => {
  it("runs timers in order of time and leaves none after a cancel", () => {
    const clock = new ManualClock(0);
    const fired: string[] = [];
    clock.setTimeout(() => fired.push("late"), 30);
    const every = clock.setInterval(() => fired.push(`tick ${clock.now()}`), 10);
    clock.advance(30);
    expect(fired).toEqual(["tick 10", "tick 20", "late", "tick 30"]);
    every.cancel();
    expect(clock.pendingTimers).toBe(0);
  });
});

describe("back-off", () => {
  it("doubles up to its bound and starts again after a success", () => {
    const backoff = new Backoff({ initialMs: 100, maxMs: 500, jitter: 0.5, random: () => 0 });
    expect([1, 2, 3, 4].map(() => backoff.next())).toEqual([100, 200, 400, 500]);
    backoff.reset();
    expect(backoff.next()).toBe(100);
    expect(new Backoff({ initialMs: 100, random: () => 0.999 }).next()).toBeCloseTo(50, 0);
  });
});

describe("logs and errors", () => {
  it("print plain lines and never a secret field", () => {
    const lines: string[] = [];
    const log = createLogger({ name: "test", destination: { write: (line) => lines.push(line) } });
    log.info({ node: "a b", token: "hunter2", nested: { password: "hunter2" } }, "joined");
    expect(lines[0]).toMatch(/^\S+ INFO {2}test: joined node="a b" token=\[redacted\]/);
    expect(lines.join("")).not.toContain("hunter2");
  });

  it("join the messages of causes without repeating them", () => {
    const error = new KeelsonError("a/b", "cannot join", {
      cause: new Error("connect refused", { cause: new Error("refused") }),
    });
    expect(errorMessage(error)).toBe("cannot join: connect refused");
  });
});
