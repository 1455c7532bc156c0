import { etcdErrors, rangeResponse, rangeStreamResponse, services } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import type { RangeOp } from "../engine/operations.ts";
import { evaluateRange } from "../engine/range.ts";
import { checkRevision } from "../engine/txn-evaluate.ts";
import { maxRequestBytes } from "../server/message-splitter.ts";
import { grpcPrefixBytes, type ServerStream, type StreamMethod } from "../server/rpc.ts";
import { unimplemented } from "../server/status.ts";
import { decodeRange, readerOf } from "../wire/kv-requests.ts";

/** The first chunk; later ones double until they come near the request limit, and halve above it. */
const firstChunkKeys = 10;
const maxChunkKeys = 10_000;
/** A client that reads slowly gets the next chunk when it has taken most of the last ones. */
const maxPendingBytes = 4 << 20;

/** KV.RangeStream (etcd 3.7): one range in chunks, all at the revision the stream began with. */
export function rangeStreamMethod(core: Core): StreamMethod {
  return {
    kind: "stream",
    path: services.kv.rangeStream.path,
    open(stream) {
      let resume = (): void => {};
      let closed = false;
      const drained = (): Promise<void> => new Promise((resolve) => (resume = resolve));
      return {
        onMessage(message) {
          const op = decodeRange(readerOf(message));
          checkStreamable(op);
          sendRange(core, op, stream, drained, () => closed).catch((error) => stream.end(error));
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

function checkStreamable(op: RangeOp): void {
  if (op.key === "") throw etcdErrors.emptyKey();
  if (op.target !== "key" || op.order === "descend") {
    throw unimplemented("etcdserver: RangeStream does not support custom sort orders");
  }
  if (op.minModRevision || op.maxModRevision || op.minCreateRevision || op.maxCreateRevision) {
    throw unimplemented("etcdserver: RangeStream does not support revision filters");
  }
}

async function sendRange(
  core: Core,
  op: RangeOp,
  stream: ServerStream,
  drained: () => Promise<void>,
  isClosed: () => boolean,
): Promise<void> {
  await core.linearize();
  const { store, encoder } = core;
  checkRevision(store, op, store.committed);
  const header = store.committed;
  const revision = op.revision > 0 ? op.revision : header;
  const total = evaluateRange(store, { ...op, countOnly: true }, revision).count;
  let from = op.key;
  let left = op.limit > 0 && !op.countOnly ? op.limit : Number.POSITIVE_INFINITY;
  for (let keys = firstChunkKeys; !isClosed(); ) {
    if (revision < store.compacted) throw etcdErrors.compacted();
    const limit = Math.min(keys, left);
    const outcome = evaluateRange(store, { ...op, key: from, limit, revision }, revision);
    const release = store.hold();
    const frame = await Promise.resolve(encoder.encode(outcome, header)).finally(release);
    const chunk = rangeResponse.decode(frame.subarray(grpcPrefixBytes));
    left -= chunk.kvs.length;
    const last = !chunk.more || left <= 0 || op.countOnly;
    // Header, more and count belong to the last chunk.
    const response = last ? { ...chunk, header: core.header(header), count: total } : { kvs: chunk.kvs };
    stream.send([rangeStreamResponse.encode({ rangeResponse: response })]);
    if (last) break;
    from = `${chunk.kvs.at(-1)!.key.toString("latin1")}\0`;
    keys = frame.length < maxRequestBytes / 2 ? Math.min(keys * 2, maxChunkKeys) : Math.max(1, keys >> 1);
    while (stream.pendingBytes > maxPendingBytes && !isClosed()) await drained();
  }
  stream.end();
}
