import { randomBytes } from "node:crypto";
import { networkInterfaces } from "node:os";
import { KeelsonError, readFileIfExists, writeFileAtomic } from "@keelson/service";

/** The node's name: lower-cased, which is all the normalisation K3s does. Throws `node-name/invalid`. */
export function normalizeNodeName(name: string): string {
  const lower = name.trim().toLowerCase();
  if (!/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(lower)) {
    throw new KeelsonError("node-name/invalid", `${JSON.stringify(name)} cannot be a node name`, {
      hint: "use letters, digits, '-' and '.', and set it with --node-name",
    });
  }
  return lower;
}

/** The id that --with-node-id appends: eight hex digits, drawn once and kept beside the node password. */
export async function nodeId(path: string): Promise<string> {
  const existing = (await readFileIfExists(path))?.trim();
  if (existing !== undefined && existing !== "") return existing;
  const id = randomBytes(4).toString("hex");
  await writeFileAtomic(path, `${id}\n`, 0o644);
  return id;
}

/** The node's address when none is given: the first that is not loopback or link-local, IPv4 preferred. */
export function defaultNodeIp(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const usable = addresses.filter(({ internal, address }) => !internal && !/^(fe80:|169\.254\.)/i.test(address));
  const chosen = usable.find(({ family }) => family === "IPv4") ?? usable[0];
  return chosen?.address ?? "127.0.0.1";
}
