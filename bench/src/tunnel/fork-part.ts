import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Starts a process of this bench with compiled modules from a cache, as `keelson` runs: the compiler's memory is not the tunnel's. */
export function forkPart(argument: string): ChildProcess {
  return fork(join(import.meta.dirname, "..", "cli.ts"), ["tunnel", argument], {
    env: { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), "keelson-bench-compile-cache") },
  });
}

/** Fills the cache: a process that loads what the others will, and ends. */
export async function fillCompileCache(): Promise<void> {
  await once(forkPart("--part=none"), "close");
}
