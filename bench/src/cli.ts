import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";

/** `npm run bench -- <name> [options]`: each bench is a file of this folder that exports {@link Bench.run}. */
interface Bench {
  /** Resolves with the exit code: 0 when every bar is met. */
  run(args: string[]): Promise<number>;
}

const [name, ...args] = process.argv.slice(2);
const notBenches = new Set(["cli", "index", "svg-plot"]);
const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(".ts"))
  .map((file) => basename(file, ".ts"))
  .filter((candidate) => !notBenches.has(candidate));

if (name === undefined || !names.includes(name) || !existsSync(join(import.meta.dirname, `${name}.ts`))) {
  console.error(`usage: npm run bench -- <${names.join("|")}> [options]`);
  process.exitCode = 2;
} else {
  const bench = (await import(`./${name}.ts`)) as Bench;
  process.exitCode = await bench.run(args);
}
