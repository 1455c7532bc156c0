import { ManualClock } from "@keelson/service";
import { describe, expect, test } from "vitest";
import { HealthChecks } from "../src/health-checks.ts";
import type { HealthProbe } from "../src/index.ts";

/** A probe whose answers the test gives. */
class HeldProbe implements HealthProbe {
  asked = 0;
  answer: (error?: Error) => void = () => {};

  check(_address: string, signal: AbortSignal): Promise<void> {
    this.asked++;
    return new Promise((resolve, reject) => {
      this.answer = (error) => (error === undefined ? resolve() : reject(error));
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  }

  close(): void {}
}

function setUp() {
  const clock = new ManualClock();
  const probe = new HeldProbe();
  const verdicts: string[] = [];
  const checks = new HealthChecks(probe, 1_500, clock, (address, result, reason) => {
    verdicts.push(`${address} ${result}: ${reason}`);
  });
  return { clock, probe, checks, verdicts };
}

describe("health checks", () => {
  test("one question at a time for each server, and silence is a failure", async () => {
    const { clock, probe, checks, verdicts } = setUp();
    const first = checks.check("a:1");
    await checks.check("a:1");
    expect(probe.asked).toBe(1);
    clock.advance(1_500);
    await first;
    expect(verdicts).toEqual([expect.stringMatching(/^a:1 failed: health check failed: .* within 1500 ms$/)]);
  });

  test("a server that broke all its connections is suspect until it answers or takes a connection", async () => {
    const { probe, checks, verdicts } = setUp();
    checks.suspect("a:1");
    expect([checks.isSuspect("a:1"), checks.isSuspect("b:1"), probe.asked]).toEqual([true, false, 1]);
    probe.answer();
    await expect.poll(() => verdicts).toEqual(["a:1 ok: health check passed"]);
    expect(checks.isSuspect("a:1")).toBe(false);
    checks.suspect("a:1");
    checks.clear("a:1");
    expect(checks.isSuspect("a:1")).toBe(false);
  });

  test("while a server says that it leaves, an answer proves nothing; after a stop nothing is said", async () => {
    const { probe, checks, verdicts } = setUp();
    checks.setLeaving("a:1", true);
    const asked = checks.check("a:1");
    probe.answer();
    await asked;
    expect(verdicts).toEqual(["a:1 leaving: the server said that it is shutting down"]);
    const last = checks.check("b:1");
    checks.stop();
    await last;
    expect(verdicts).toHaveLength(1);
  });
});
