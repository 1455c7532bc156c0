import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { KeelsonError } from "@keelson/service";

/** bbolt's pages are whole sectors, so that what is left over is the hash. */
const sectorBytes = 512;
const sha256Bytes = 32;

/**
 * The SHA-256 of a snapshot's pages, in hex. `etcdctl snapshot save` puts it behind them; a copied database file has none.
 * Throws `snapshot/no-hash` when it is not there and `snapshot/damaged` when it does not match, unless it is not to be checked.
 */
export async function snapshotHash(file: string, skipCheck: boolean): Promise<string> {
  const { size } = await stat(file);
  const hasHash = size % sectorBytes === sha256Bytes;
  if (!hasHash && !skipCheck) {
    throw new KeelsonError("snapshot/no-hash", `${file} has no hash at its end: nothing tells whether it is whole`, {
      hint: "use a file that `etcdctl snapshot save` wrote; for the database file of a stopped etcd give --skip-hash-check",
    });
  }
  const pagesEnd = hasHash ? size - sha256Bytes : size;
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file, { end: pagesEnd - 1 })) hash.update(chunk as Buffer);
  const actual = hash.digest();
  if (!hasHash || skipCheck) return actual.toString("hex");
  const told: Buffer[] = [];
  for await (const chunk of createReadStream(file, { start: pagesEnd })) told.push(chunk as Buffer);
  if (actual.equals(Buffer.concat(told))) return actual.toString("hex");
  throw new KeelsonError(
    "snapshot/damaged",
    `${file} is not an intact etcd snapshot: its content does not match its hash`,
    { hint: "copy it anew from where it was taken, or take another" },
  );
}
