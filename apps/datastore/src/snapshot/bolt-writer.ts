import type { FileHandle } from "node:fs/promises";
import {
  boltMagic,
  boltVersion,
  bucketHeaderBytes,
  elementBytes,
  fillLeaf,
  type Item,
  leafSize,
  metaChecksum,
  metaOffsets,
  noFreelist,
  pageBytes,
  pageFlag,
  pageHeaderBytes,
} from "./bolt-page.ts";

/** A page and the smallest key below it. */
interface Child {
  firstKey: Buffer;
  pageId: number;
}

/** Pages are gathered until a write is worth it. */
const writeBytes = 1 << 20;
/** bbolt keeps a bucket inside its parent's page up to a quarter of a page. */
const maxInlineBytes = pageBytes / 4;

/**
 * Writes a bbolt file from front to back: items come in key order and fill leaf after leaf, then the branches above them.
 * Nothing is rewritten but the two meta pages, so memory stays small whatever the size.
 */
export class BoltWriter {
  readonly #file: FileHandle;
  #nextPage = 2;
  #buffered: Buffer[] = [];
  #bufferedBytes = 0;
  #written = 2 * pageBytes;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Writes one bucket; resolves with the value that its entry in the root has. Keys must ascend. */
  async bucket(items: AsyncIterable<Item> | Iterable<Item>): Promise<Buffer> {
    const leaves: Child[] = [];
    let page: Item[] = [];
    let size = pageHeaderBytes;
    for await (const item of items) {
      const itemSize = elementBytes + item.key.length + item.value.length;
      if (page.length > 0 && size + itemSize > pageBytes) {
        leaves.push(await this.#leaf(page));
        page = [];
        size = pageHeaderBytes;
      }
      page.push(item);
      size += itemSize;
    }
    if (leaves.length === 0 && size <= maxInlineBytes) return inlineBucket(page);
    if (page.length > 0) leaves.push(await this.#leaf(page));
    const header = Buffer.alloc(bucketHeaderBytes);
    header.writeBigUInt64LE(BigInt(await this.#root(leaves)), 0);
    return header;
  }

  /** Writes the root, whose items are the buckets by name, and the meta pages. */
  async finish(buckets: Item[]): Promise<void> {
    const sorted = buckets.toSorted((a, b) => Buffer.compare(a.key, b.key));
    const { pageId: root } = await this.#leaf(sorted.map((item) => ({ ...item, isBucket: true })));
    await this.#flush();
    for (const id of [0, 1]) await this.#file.write(metaPage(id, root, this.#nextPage), 0, pageBytes, id * pageBytes);
    await this.#file.sync();
  }

  /** Builds branches until one page is above all. */
  async #root(children: Child[]): Promise<number> {
    let level = children;
    while (level.length > 1) {
      const above: Child[] = [];
      let page: Child[] = [];
      let size = pageHeaderBytes;
      for (const child of level) {
        const childSize = elementBytes + child.firstKey.length;
        // A branch with a single child would be no branch.
        if (page.length >= 2 && size + childSize > pageBytes) {
          above.push(await this.#branch(page));
          page = [];
          size = pageHeaderBytes;
        }
        page.push(child);
        size += childSize;
      }
      above.push(await this.#branch(page));
      level = above;
    }
    return level[0]!.pageId;
  }

  async #leaf(items: Item[]): Promise<Child> {
    const page = this.#newPage(leafSize(items));
    fillLeaf(page, items);
    return { firstKey: items[0]!.key, pageId: await this.#write(page) };
  }

  async #branch(children: Child[]): Promise<Child> {
    let size = pageHeaderBytes;
    for (const child of children) size += elementBytes + child.firstKey.length;
    const page = this.#newPage(size);
    page.writeUInt16LE(pageFlag.branch, 8);
    page.writeUInt16LE(children.length, 10);
    let data = pageHeaderBytes + children.length * elementBytes;
    children.forEach(({ firstKey, pageId }, index) => {
      const element = pageHeaderBytes + index * elementBytes;
      page.writeUInt32LE(data - element, element);
      page.writeUInt32LE(firstKey.length, element + 4);
      page.writeBigUInt64LE(BigInt(pageId), element + 8);
      data += firstKey.copy(page, data);
    });
    return { firstKey: children[0]!.firstKey, pageId: await this.#write(page) };
  }

  #newPage(size: number): Buffer {
    return Buffer.alloc(Math.ceil(size / pageBytes) * pageBytes);
  }

  async #write(page: Buffer): Promise<number> {
    const id = this.#nextPage;
    const pages = page.length / pageBytes;
    page.writeBigUInt64LE(BigInt(id), 0);
    page.writeUInt32LE(pages - 1, 12);
    this.#nextPage += pages;
    this.#buffered.push(page);
    this.#bufferedBytes += page.length;
    if (this.#bufferedBytes >= writeBytes) await this.#flush();
    return id;
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#buffered);
    this.#buffered = [];
    this.#bufferedBytes = 0;
    await this.#file.write(bytes, 0, bytes.length, this.#written);
    this.#written += bytes.length;
  }
}

function inlineBucket(items: Item[]): Buffer {
  const bytes = Buffer.alloc(bucketHeaderBytes + leafSize(items));
  fillLeaf(bytes.subarray(bucketHeaderBytes), items);
  return bytes;
}

function metaPage(id: number, root: number, highWater: number): Buffer {
  const page = Buffer.alloc(pageBytes);
  page.writeBigUInt64LE(BigInt(id), 0);
  page.writeUInt16LE(pageFlag.meta, 8);
  page.writeUInt32LE(boltMagic, metaOffsets.magic);
  page.writeUInt32LE(boltVersion, metaOffsets.version);
  page.writeUInt32LE(pageBytes, metaOffsets.pageSize);
  page.writeBigUInt64LE(BigInt(root), metaOffsets.root);
  page.writeBigUInt64LE(noFreelist, metaOffsets.freelist);
  page.writeBigUInt64LE(BigInt(highWater), metaOffsets.highWater);
  page.writeBigUInt64LE(BigInt(id + 1), metaOffsets.transaction);
  page.writeBigUInt64LE(metaChecksum(page), metaOffsets.checksum);
  return page;
}
