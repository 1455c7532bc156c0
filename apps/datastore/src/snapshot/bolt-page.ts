/**
 * The page layout of bbolt, the file format of etcd's snapshots (go.etcd.io/bbolt, page.go and db.go). Numbers are
 * little-endian. A page starts with id (8 bytes), flags (2), count (2) and overflow (4: further pages that belong to it);
 * elements follow, then keys and values, to which elements point relative to themselves.
 */
export const pageBytes = 4_096;
export const pageHeaderBytes = 16;
export const elementBytes = 16;
export const bucketHeaderBytes = 16;

export const pageFlag = { branch: 0x01, leaf: 0x02, meta: 0x04 } as const;
/** Flag of a leaf element whose value is a bucket. */
export const bucketElement = 0x01;

export const boltMagic = 0xed0cdaed;
export const boltVersion = 2;
/** "There is no list of free pages": bbolt then finds them by itself. */
export const noFreelist = 0xffff_ffff_ffff_ffffn;

export const metaOffsets = {
  magic: 16,
  version: 20,
  pageSize: 24,
  flags: 28,
  root: 32,
  sequence: 40,
  freelist: 48,
  highWater: 56,
  transaction: 64,
  checksum: 72,
} as const;

/** FNV-1a over the meta page's fields, as bbolt guards them. */
export function metaChecksum(page: Buffer): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of page.subarray(metaOffsets.magic, metaOffsets.checksum)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash;
}

export interface Item {
  key: Buffer;
  value: Buffer;
  isBucket?: boolean;
}

/** Size of a page that holds these items, before it is rounded up to whole pages. */
export function leafSize(items: readonly Item[]): number {
  let size = pageHeaderBytes;
  for (const { key, value } of items) size += elementBytes + key.length + value.length;
  return size;
}

/** Writes a leaf page into `page`, whose id is set by the caller. */
export function fillLeaf(page: Buffer, items: readonly Item[]): void {
  page.writeUInt16LE(pageFlag.leaf, 8);
  page.writeUInt16LE(items.length, 10);
  let data = pageHeaderBytes + items.length * elementBytes;
  items.forEach(({ key, value, isBucket }, index) => {
    const element = pageHeaderBytes + index * elementBytes;
    page.writeUInt32LE(isBucket ? bucketElement : 0, element);
    page.writeUInt32LE(data - element, element + 4);
    page.writeUInt32LE(key.length, element + 8);
    page.writeUInt32LE(value.length, element + 12);
    data += key.copy(page, data);
    data += value.copy(page, data);
  });
}
