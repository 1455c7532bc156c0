import { createReadStream, createWriteStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { crc32, createDeflateRaw, createInflateRaw } from "node:zlib";
import { KeelsonError } from "@keelson/service";

const localHeaderSignature = 0x04034b50;
const dataDescriptorSignature = 0x08074b50;
const centralHeaderSignature = 0x02014b50;
const endSignature = 0x06054b50;
const deflated = 8;
/** Sizes and checksum stand behind the data; names are UTF-8. */
const flags = (1 << 3) | (1 << 11);
const maxSizeBytes = 0xffff_ffff;

/** Packs one file into a zip archive (how K3s compresses snapshots), streaming. */
export async function zipFile(source: string, target: string, entryName: string, modifiedAt: Date): Promise<void> {
  if ((await stat(source)).size >= maxSizeBytes) {
    throw new KeelsonError("snapshot/too-large", `${source} is too large to be compressed`, {
      hint: "save without --etcd-snapshot-compress",
    });
  }
  const name = Buffer.from(entryName);
  const { date, time } = dosTime(modifiedAt);
  await pipeline(
    async function* () {
      let checksum = 0;
      let size = 0;
      let compressedSize = 0;
      yield header(localHeaderSignature, [20, flags, deflated, time, date], [0, 0, 0], [name.length, 0]);
      yield name;
      const deflate = createReadStream(source)
        .on("data", (chunk: string | Buffer) => {
          checksum = crc32(chunk, checksum);
          size += chunk.length;
        })
        .on("error", (error) => deflate.destroy(error))
        .pipe(createDeflateRaw());
      for await (const chunk of deflate as AsyncIterable<Buffer>) {
        compressedSize += chunk.length;
        yield chunk;
      }
      const sizes = [checksum, compressedSize, size];
      yield header(dataDescriptorSignature, [], sizes, []);
      const directoryOffset = 30 + name.length + compressedSize + 16;
      const central = header(centralHeaderSignature, [0x0314, 20, flags, deflated, time, date], sizes, [
        name.length,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
      ]);
      // Unix mode in the upper half of the external attributes: the snapshot holds every Secret of the cluster.
      central.writeUInt32LE((0o100600 << 16) >>> 0, 38);
      yield central;
      yield name;
      const end = Buffer.alloc(22);
      end.writeUInt32LE(endSignature, 0);
      end.writeUInt16LE(1, 8);
      end.writeUInt16LE(1, 10);
      end.writeUInt32LE(central.length + name.length, 12);
      end.writeUInt32LE(directoryOffset, 16);
      yield end;
    },
    createWriteStream(target, { mode: 0o600 }),
  );
}

/** Unpacks the only entry of an archive into a file and checks it. Throws `snapshot/corrupt`. */
export async function unzipFile(archive: string, target: string): Promise<void> {
  const entry = await readEntry(archive);
  let checksum = 0;
  let size = 0;
  const raw = createReadStream(archive, { start: entry.dataStart, end: entry.dataStart + entry.compressedSize - 1 });
  try {
    await pipeline(
      raw,
      createInflateRaw(),
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          checksum = crc32(chunk, checksum);
          size += chunk.length;
          yield chunk;
        }
      },
      createWriteStream(target, { mode: 0o600 }),
    );
  } catch (error) {
    throw corrupt(archive, error);
  }
  if (checksum !== entry.checksum || size !== entry.size) throw corrupt(archive);
}

interface Entry {
  dataStart: number;
  compressedSize: number;
  size: number;
  checksum: number;
}

async function readEntry(archive: string): Promise<Entry> {
  const handle = await open(archive);
  const read = async (position: number, length: number): Promise<Buffer> => {
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await handle.read(buffer, 0, length, position);
    if (bytesRead !== length) throw corrupt(archive);
    return buffer;
  };
  try {
    const total = (await handle.stat()).size;
    if (total < 22) throw corrupt(archive);
    const tailStart = Math.max(0, total - 65_557);
    const tail = await read(tailStart, total - tailStart);
    const endAt = tail.lastIndexOf(Buffer.from("PK\u0005\u0006"));
    if (endAt < 0 || endAt + 22 > tail.length) throw corrupt(archive);
    const central = await read(tail.readUInt32LE(endAt + 16), 46);
    if (central.readUInt32LE(0) !== centralHeaderSignature || central.readUInt16LE(10) !== deflated) {
      throw corrupt(archive);
    }
    const localOffset = central.readUInt32LE(42);
    const local = await read(localOffset, 30);
    if (local.readUInt32LE(0) !== localHeaderSignature) throw corrupt(archive);
    return {
      dataStart: localOffset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28),
      checksum: central.readUInt32LE(16),
      compressedSize: central.readUInt32LE(20),
      size: central.readUInt32LE(24),
    };
  } finally {
    await handle.close();
  }
}

function corrupt(archive: string, cause?: unknown): KeelsonError {
  return new KeelsonError("snapshot/corrupt", `${archive} is not a complete snapshot archive`, {
    hint: "choose another snapshot: keelson etcd-snapshot ls",
    cause,
  });
}

function header(signature: number, before: number[], middle: number[], after: number[]): Buffer {
  const buffer = Buffer.alloc(4 + before.length * 2 + middle.length * 4 + after.length * 2);
  let at = buffer.writeUInt32LE(signature, 0);
  for (const value of before) at = buffer.writeUInt16LE(value, at);
  for (const value of middle) at = buffer.writeUInt32LE(value >>> 0, at);
  for (const value of after) at = buffer.writeUInt16LE(value, at);
  return buffer;
}

/** MS-DOS date and time in UTC, two-second steps, as the format has them. */
function dosTime(at: Date): { date: number; time: number } {
  return {
    date: ((Math.max(1980, at.getUTCFullYear()) - 1980) << 9) | ((at.getUTCMonth() + 1) << 5) | at.getUTCDate(),
    time: (at.getUTCHours() << 11) | (at.getUTCMinutes() << 5) | (at.getUTCSeconds() >> 1),
  };
}
