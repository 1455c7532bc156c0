import { createHash, randomBytes } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { services, snapshotRequest, snapshotResponse } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import type { ServerStream, StreamMethod } from "../server/rpc.ts";
import { writeSnapshot } from "../snapshot/write-snapshot.ts";
import { emulatedEtcdVersion } from "./maintenance.ts";
import { decodeMessage } from "./message-method.ts";

const chunkBytes = 32 * 1_024;
/** A client that reads slowly gets more when it has taken most of what was sent. */
const maxPendingBytes = 1 << 20;

/** Maintenance.Snapshot: a file that is an etcd database, in chunks, and its SHA-256 as the last one. */
export function snapshotMethod(core: Core): StreamMethod {
  return {
    kind: "stream",
    path: services.maintenance.snapshot.path,
    open(stream) {
      let closed = false;
      let resume = (): void => {};
      const drained = async (): Promise<boolean> => {
        while (stream.pendingBytes > maxPendingBytes && !closed)
          await new Promise<void>((resolve) => (resume = resolve));
        return !closed;
      };
      return {
        onMessage(message) {
          decodeMessage(snapshotRequest, message);
          sendSnapshot(core, stream, drained).then(
            () => stream.end(),
            (error) => stream.end(error),
          );
        },
        onHalfClose() {},
        onClosed() {
          closed = true;
          resume();
        },
        onDrain: () => resume(),
      };
    },
  };
}

async function sendSnapshot(core: Core, stream: ServerStream, drained: () => Promise<boolean>): Promise<void> {
  await core.linearize();
  const header = core.header();
  const path = join(tmpdir(), `keelson-snapshot-${randomBytes(8).toString("hex")}.db`);
  try {
    await writeSnapshot(core, path);
    const file = await open(path, "r");
    try {
      const { size } = await file.stat();
      const hash = createHash("sha256");
      for (let sent = 0; sent < size && (await drained()); ) {
        const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes, sent);
        if (bytesRead === 0) break;
        const blob = buffer.subarray(0, bytesRead);
        sent += bytesRead;
        hash.update(blob);
        stream.send([
          snapshotResponse.encode({ header, remainingBytes: size - sent, blob, version: emulatedEtcdVersion }),
        ]);
      }
      stream.send([
        snapshotResponse.encode({ header, remainingBytes: 0, blob: hash.digest(), version: emulatedEtcdVersion }),
      ]);
    } finally {
      await file.close();
    }
  } finally {
    await rm(path, { force: true });
  }
}
