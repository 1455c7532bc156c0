import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Starts a process of this bench as `keelson` starts its own: with compiled modules from a cache, so that the compiler's
 * memory is not the tunnel's, and with a small young generation.
 */
export function forkPart(argument: string): ChildProcess {
  return fork(join(import.meta.dirname, "..", "cli.ts"), ["tunnel", argument], {
    execArgv: ["--semi-space-growth-factor=1"],
    env: { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), "keelson-bench-compile-cache") },
  });
}

/** Fills the cache: a process that loads what the others will, and ends. */
export async function fillCompileCache(): Promise<void> {
  await once(forkPart("--part=none"), "close");
}
