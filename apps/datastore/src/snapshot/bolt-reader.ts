import { closeSync, openSync, readSync } from "node:fs";
import { KeelsonError } from "@keelson/service";
import {
  boltMagic,
  bucketElement,
  bucketHeaderBytes,
  elementBytes,
  type Item,
  metaChecksum,
  metaOffsets,
  pageBytes,
  pageFlag,
  pageHeaderBytes,
} from "./bolt-page.ts";

/** How deep a tree can be before it must be a loop. */
const maxDepth = 64;
const maxPages = 1 << 20;

/** Reads a bbolt file page by page. Throws a KeelsonError when the file is not one, or is damaged. */
export class BoltReader implements Disposable {
  readonly #path: string;
  readonly #fd: number;
  #pageBytes = pageBytes;
  #root: number;

  constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, "r");
    try {
      this.#root = this.#readMeta();
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  /** The items of a top-level bucket in key order; nothing when there is no such bucket. */
  *bucket(name: string): Generator<Item> {
    for (const item of this.#page(this.#root, 0)) {
      if (!item.isBucket || item.key.toString("latin1") !== name) continue;
      const root = Number(item.value.readBigUInt64LE(0));
      if (root === 0) yield* this.#leaf(item.value.subarray(bucketHeaderBytes));
      else yield* this.#page(root, 0);
    }
  }

  /** The newer of the two meta pages that is intact names the root. */
  #readMeta(): number {
    const first = this.#read(0, pageBytes);
    this.#pageBytes =
      first.readUInt32LE(metaOffsets.magic) === boltMagic ? first.readUInt32LE(metaOffsets.pageSize) : pageBytes;
    if (this.#pageBytes < 1_024 || this.#pageBytes > 1 << 16) throw this.#damaged("odd page size");
    const metas = [first, this.#read(this.#pageBytes, pageBytes)].filter(
      (meta) =>
        meta.readUInt32LE(metaOffsets.magic) === boltMagic &&
        meta.readBigUInt64LE(metaOffsets.checksum) === metaChecksum(meta),
    );
    metas.sort((a, b) =>
      Number(b.readBigUInt64LE(metaOffsets.transaction) - a.readBigUInt64LE(metaOffsets.transaction)),
    );
    if (metas[0] === undefined) throw this.#damaged("it has no intact meta page");
    return Number(metas[0].readBigUInt64LE(metaOffsets.root));
  }

  *#page(id: number, depth: number): Generator<Item> {
    if (depth > maxDepth) throw this.#damaged("its tree has no end");
    const page = this.#readPage(id);
    const flags = page.readUInt16LE(8);
    if (flags === pageFlag.leaf) yield* this.#leaf(page);
    else if (flags === pageFlag.branch) {
      for (let index = 0; index < page.readUInt16LE(10); index++) {
        yield* this.#page(Number(page.readBigUInt64LE(pageHeaderBytes + index * elementBytes + 8)), depth + 1);
      }
    } else throw this.#damaged(`page ${id} is neither branch nor leaf`);
  }

  *#leaf(page: Buffer): Generator<Item> {
    for (let index = 0; index < page.readUInt16LE(10); index++) {
      const element = pageHeaderBytes + index * elementBytes;
      const start = element + page.readUInt32LE(element + 4);
      const keyEnd = start + page.readUInt32LE(element + 8);
      const end = keyEnd + page.readUInt32LE(element + 12);
      if (end > page.length) throw this.#damaged("an item ends outside its page");
      const isBucket = (page.readUInt32LE(element) & bucketElement) !== 0;
      yield { key: page.subarray(start, keyEnd), value: page.subarray(keyEnd, end), isBucket };
    }
  }

  #readPage(id: number): Buffer {
    const head = this.#read(id * this.#pageBytes, pageHeaderBytes);
    const overflow = head.readUInt32LE(12);
    if (overflow > maxPages) throw this.#damaged(`page ${id} is too large`);
    return this.#read(id * this.#pageBytes, (overflow + 1) * this.#pageBytes);
  }

  #read(position: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    if (readSync(this.#fd, bytes, 0, length, position) < length) throw this.#damaged("it ends early");
    return bytes;
  }

  #damaged(reason: string): KeelsonError {
    return new KeelsonError("snapshot/damaged", `${this.#path} is not an intact etcd snapshot: ${reason}`, {
      hint: "use a file that `etcdctl snapshot save` wrote",
    });
  }
}
