import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { serverCertificates } from "@keelson/pki";
import { KeelsonError, readFileIfExists, writeFileAtomic } from "@keelson/service";
import { serverPaths } from "../server-paths.ts";

/** A file in which the command line asks the server of the same data directory to renew leaves. */
const requestFile = (dataDir: string): string => join(serverPaths(dataDir).tls, "rotate-requested");

/**
 * Asks the running server to reissue leaves (all of them when none is named): it does within seconds, without a restart; a
 * server that is off does it when it starts. Throws
 * `certificate/unknown` for a name that is no leaf, `certificate/no-server` where no server could find the request.
 */
export async function requestRotation(dataDir: string, names: readonly string[] = []): Promise<string[]> {
  const all = serverCertificates.map(({ file }) => file);
  const unknown = names.find((name) => !all.includes(name));
  if (unknown !== undefined) {
    throw new KeelsonError("certificate/unknown", `there is no certificate "${unknown}"`, {
      hint: `one of ${all.join(", ")}`,
    });
  }
  const files = names.length === 0 ? all : [...names];
  const { tls } = serverPaths(dataDir);
  if (!(await stat(tls).catch(() => undefined))?.isDirectory()) {
    throw new KeelsonError("certificate/no-server", `no server keeps its certificates in ${tls}`, {
      hint: "run this on the server's host, with the server's --data-dir",
    });
  }
  await writeFileAtomic(requestFile(dataDir), `${files.join("\n")}\n`, 0o600);
  return files;
}

/** The leaves that were asked for since the last look, none most of the time. */
export async function takeRotationRequest(dataDir: string): Promise<string[]> {
  const text = await readFileIfExists(requestFile(dataDir));
  if (text === undefined) return [];
  await rm(requestFile(dataDir), { force: true });
  const known = new Set(serverCertificates.map(({ file }) => file));
  return text.split("\n").filter((line) => known.has(line));
}
