import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Cluster, Credentials } from "./cluster.ts";

const run = promisify(execFile);

/** Runs the host's kubectl against the fixed registration address. Rejects with what kubectl said. */
export async function kubectl(cluster: Cluster, credentials: Credentials, ...args: string[]): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "keelson-e2e-"));
  try {
    for (const name of ["ca", "cert", "key"] as const) {
      await writeFile(join(directory, name), credentials[name], { mode: 0o600 });
    }
    const { stdout } = await run("kubectl", [
      `--server=https://${cluster.balancerAddress}:6443`,
      `--certificate-authority=${join(directory, "ca")}`,
      `--client-certificate=${join(directory, "cert")}`,
      `--client-key=${join(directory, "key")}`,
      "--request-timeout=10s",
      ...args,
    ]);
    return stdout;
  } finally {
    await rm(directory, { recursive: true });
  }
}
