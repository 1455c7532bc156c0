import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const projectRoot = join(import.meta.dirname, "..", "..", "..", "..");

/** `keelson version 0.1.0 (3f2c1ab)`: the commit is the image's build argument, else that of the checkout. */
export async function version(): Promise<string> {
  const manifest = JSON.parse(await readFile(join(projectRoot, "package.json"), "utf8")) as { version: string };
  return `keelson version ${manifest.version} (${process.env.KEELSON_COMMIT ?? (await checkoutCommit())})`;
}

async function checkoutCommit(): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)("git", ["rev-parse", "--short", "HEAD"], { cwd: projectRoot });
    return stdout.trim();
  } catch {
    return "unknown"; // installed from an archive, without git
  }
}
