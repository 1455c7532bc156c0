import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { errorCode, KeelsonError, readFileIfExists, writeFileAtomic } from "@keelson/service";

/** Where the node password lives unless told otherwise; a reinstalled host that keeps it keeps its name. */
export const defaultNodePasswordFile = "/etc/rancher/node/password";

/** The node password: 32 hex digits, drawn once, reused for ever. Throws `node-password/unusable`. */
export async function nodePassword(path: string): Promise<string> {
  try {
    const existing = (await readFileIfExists(path))?.trim();
    if (existing !== undefined && existing !== "") return existing;
    const password = randomBytes(16).toString("hex");
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await writeFileAtomic(path, `${password}\n`, 0o600);
    return password;
  } catch (cause) {
    const denied = errorCode(cause) === "EACCES" || errorCode(cause) === "EPERM";
    throw new KeelsonError("node-password/unusable", `node password file ${path} cannot be used`, {
      hint: denied ? "run as root, or choose another file with --node-password-file" : "check the file and its folder",
      cause,
    });
  }
}
