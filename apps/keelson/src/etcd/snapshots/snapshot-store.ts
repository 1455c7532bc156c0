import { createHash, randomBytes } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { pathToFileURL } from "node:url";
import { errorCode, KeelsonError } from "@keelson/service";
import { formatSnapshotName, isSnapshotBase, parseSnapshotName, type Snapshot } from "./snapshot-name.ts";
import { zipFile } from "./zip-file.ts";

const digestBytes = 32;
/** The database part of a snapshot is whole pages; what is left over is the digest that etcd appends. */
const pageBytes = 512;

/** Snapshots in a folder of this server. */
export class SnapshotStore {
  readonly directory: string;
  readonly #nodeName: string;

  constructor(directory: string, nodeName: string) {
    this.directory = directory;
    this.#nodeName = nodeName;
  }

  /**
   * Writes a snapshot from etcd's stream, checks the digest it ends with, and gives it its name only then: what is
   * listed is complete.
   */
  async save(
    content: AsyncIterable<Uint8Array>,
    options: { base: string; compress: boolean; nowMs: number },
  ): Promise<Snapshot> {
    if (!isSnapshotBase(options.base)) {
      throw new KeelsonError("snapshot/bad-name", `"${options.base}" cannot name a snapshot`, {
        hint: "use letters, digits, dots, dashes and underscores",
        status: 400,
      });
    }
    await mkdir(this.directory, { recursive: true, mode: 0o700 });
    const name = formatSnapshotName({
      base: options.base,
      nodeName: this.#nodeName,
      createdAtMs: options.nowMs,
      compressed: options.compress,
    });
    const partial = join(this.directory, `.${name}.${randomBytes(4).toString("hex")}.part`);
    const packed = `${partial}.zip`;
    try {
      await pipeline(content, createWriteStream(partial, { mode: 0o600 }));
      await verifySnapshotFile(partial);
      const entryName = name.replace(/\.zip$/, "");
      if (options.compress) await zipFile(partial, packed, entryName, new Date(options.nowMs));
      const finished = options.compress ? packed : partial;
      await syncFile(finished);
      await rename(finished, join(this.directory, name));
    } finally {
      await rm(partial, { force: true });
      await rm(packed, { force: true });
    }
    return this.#describe(name);
  }

  /** Newest first. Files that are not snapshots are not listed. */
  async list(): Promise<Snapshot[]> {
    let names: string[];
    try {
      names = await readdir(this.directory);
    } catch (error) {
      if (errorCode(error) === "ENOENT") return [];
      throw error;
    }
    const snapshots: Snapshot[] = [];
    for (const name of names) {
      if (name.startsWith(".") || parseSnapshotName(name, this.#nodeName) === undefined) continue;
      snapshots.push(await this.#describe(name));
    }
    return snapshots.sort((a, b) => b.createdAtMs - a.createdAtMs || b.name.localeCompare(a.name));
  }

  async delete(name: string): Promise<void> {
    if (parseSnapshotName(name, this.#nodeName) === undefined || name.includes("/")) throw notFound(name);
    try {
      await rm(join(this.directory, name));
    } catch (error) {
      if (errorCode(error) === "ENOENT") throw notFound(name);
      throw error;
    }
  }

  async #describe(name: string): Promise<Snapshot> {
    const path = join(this.directory, name);
    const parsed = parseSnapshotName(name, this.#nodeName);
    return {
      name,
      nodeName: this.#nodeName,
      location: pathToFileURL(path).href,
      sizeBytes: (await stat(path)).size,
      createdAtMs: parsed?.createdAtMs ?? 0,
      compressed: parsed?.compressed ?? false,
    };
  }
}

/** Checks the SHA-256 at the end of an uncompressed snapshot. Throws `snapshot/corrupt`. */
export async function verifySnapshotFile(path: string): Promise<void> {
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    const contentBytes = size - digestBytes;
    if (contentBytes <= 0 || contentBytes % pageBytes !== 0) throw corrupt(path);
    const hash = createHash("sha256");
    const stream = handle.createReadStream({ start: 0, end: contentBytes - 1, autoClose: false });
    for await (const chunk of stream) hash.update(chunk);
    const { buffer } = await handle.read(Buffer.alloc(digestBytes), 0, digestBytes, contentBytes);
    if (!hash.digest().equals(buffer)) throw corrupt(path);
  } finally {
    await handle.close();
  }
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function corrupt(path: string): KeelsonError {
  return new KeelsonError("snapshot/corrupt", `${path} is not a complete etcd snapshot: its checksum does not match`, {
    hint: "choose another snapshot: keelson etcd-snapshot ls",
  });
}

function notFound(name: string): KeelsonError {
  return new KeelsonError("snapshot/not-found", `there is no snapshot "${name}"`, {
    hint: "see keelson etcd-snapshot ls",
    status: 404,
  });
}
