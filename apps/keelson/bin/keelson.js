#!/usr/bin/env node
// Keelson runs TypeScript directly, which needs Node 24. npm scripts get it from the `node` package; when the command is
// started with an older Node, it starts itself again with that one.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import module from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";

const requiredMajor = 24;
const entry = fileURLToPath(import.meta.url);

if (Number(process.versions.node.split(".")[0]) >= requiredMajor) {
  // Nearly all that these programs allocate dies at once: a small young generation costs no time and saves memory.
  setFlagsFromString("--semi-space-growth-factor=1");
  module.enableCompileCache?.();
  const { main } = await import("../src/main.ts");
  await main(process.argv.slice(2));
} else {
  const bundled = join(dirname(entry), "..", "..", "..", "node_modules", ".bin", "node");
  if (!existsSync(bundled)) {
    console.error(`keelson: Node ${requiredMajor} or newer is needed, this is ${process.version}. Run "npm ci" first.`);
    process.exit(1);
  }
  const child = spawn(bundled, [entry, ...process.argv.slice(2)], { stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  child.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 130 : 143)));
}
