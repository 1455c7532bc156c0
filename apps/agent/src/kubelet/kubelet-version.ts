import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);
/** It prints one line and ends. */
const timeoutMs = 5_000;

/** The minor version of a kubelet, 31 of `Kubernetes v1.31.2`; undefined when it does not say, as a missing one does not. */
export async function kubeletMinorVersion(path: string): Promise<number | undefined> {
  const said = await run(path, ["--version"], { timeout: timeoutMs }).catch(() => undefined);
  const minor = /\bv1\.(\d+)/.exec(said?.stdout ?? "")?.[1];
  return minor === undefined ? undefined : Number(minor);
}
