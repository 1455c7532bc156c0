import { isDeepStrictEqual } from "node:util";
import type { EtcdClient } from "@keelson/etcd-client";
import fc from "fast-check";
import { describeDifference } from "./describe.ts";
import { Session } from "./session.ts";
import { type Step, step } from "./steps.ts";

/** Two servers that must answer alike. */
export interface Pair {
  reference: EtcdClient;
  subject: EtcdClient;
}

export interface DifferentialOptions {
  seed: number;
  /** Scripts to run, each on a store that the last one has emptied. */
  scripts: number;
  /** No new script begins after this moment of `performance.now()`, in milliseconds. */
  until?: number;
  /** Steps of a script (60). */
  maxSteps?: number;
}

export interface DifferentialResult {
  scripts: number;
  steps: number;
  /** The smallest script found that is answered differently, as text; undefined when all were answered alike. */
  difference: string | undefined;
}

/** How long a difference may be shrunk beyond the time of the run. */
const shrinkMs = 60_000;
const defaultMaxSteps = 60;

/** Runs generated scripts against both servers; a difference is shrunk to the fewest and simplest steps that show it. */
export async function runDifferential(pair: Pair, options: DifferentialOptions): Promise<DifferentialResult> {
  let scripts = 0;
  let steps = 0;
  const until = options.until ?? Number.POSITIVE_INFINITY;
  const script = fc.array(step, {
    minLength: 1,
    maxLength: options.maxSteps ?? defaultMaxSteps,
    size: "max",
  });
  let hasFailed = false;
  const property = fc.asyncProperty(script, async (candidate) => {
    // Out of time nothing new is begun, but a difference is still shrunk.
    if (performance.now() > (hasFailed ? until + shrinkMs : until)) return;
    scripts++;
    steps += candidate.length;
    const difference = await runScript(pair, candidate);
    if (difference === undefined) return;
    hasFailed = true;
    throw new Difference(difference);
  });
  const details = await fc.check(property, { seed: options.seed, numRuns: options.scripts });
  if (!details.failed || details.counterexample === null) return { scripts, steps, difference: undefined };
  const cause = details.errorInstance;
  if (!(cause instanceof Difference)) throw cause;
  return { scripts, steps, difference: cause.message };
}

class Difference extends Error {}

/** Runs one script on both servers, step by step. Undefined when every answer is the same. */
export async function runScript(pair: Pair, script: readonly Step[]): Promise<string | undefined> {
  const [reference, subject] = await Promise.all([Session.begin(pair.reference), Session.begin(pair.subject)]);
  const done: Step[] = [];
  for (const next of script) {
    done.push(next);
    const [expected, actual] = await Promise.all([reference.run(next), subject.run(next)]);
    if (!isDeepStrictEqual(actual, expected)) {
      reference.close();
      subject.close();
      return describeDifference(done, expected, actual);
    }
  }
  const [expected, actual] = await Promise.all([reference.finish(), subject.finish()]);
  return isDeepStrictEqual(actual, expected) ? undefined : describeDifference(done, expected, actual);
}
