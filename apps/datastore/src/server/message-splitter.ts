import { etcdErrors, grpcStatus, RpcError } from "@keelson/protocol/etcd";
import { grpcPrefixBytes } from "./rpc.ts";

/** etcd's --max-request-bytes, and what its gRPC server accepts on top before it refuses by itself. */
export const maxRequestBytes = 1_572_864;
const maxMessageBytes = maxRequestBytes + 512 * 1_024;

/** Cuts a call's bytes into gRPC messages. Holds at most one message that is not complete yet. */
export class MessageSplitter {
  readonly #onMessage: (message: Buffer) => void;
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  constructor(onMessage: (message: Buffer) => void) {
    this.#onMessage = onMessage;
  }

  /** Throws RpcError when the bytes cannot be served. */
  push(chunk: Buffer): void {
    let bytes = chunk;
    if (this.#pendingBytes > 0) {
      this.#pending.push(chunk);
      this.#pendingBytes += chunk.length;
      if (this.#pendingBytes < this.#needed()) return;
      bytes = Buffer.concat(this.#pending);
      this.#pending = [];
      this.#pendingBytes = 0;
    }
    let at = 0;
    while (bytes.length - at >= grpcPrefixBytes) {
      const length = checkedLength(bytes, at);
      const end = at + grpcPrefixBytes + length;
      if (end > bytes.length) break;
      this.#onMessage(bytes.subarray(at + grpcPrefixBytes, end));
      at = end;
    }
    if (at === bytes.length) return;
    this.#pending = [bytes.subarray(at)];
    this.#pendingBytes = bytes.length - at;
  }

  /** Whether the call ended in the middle of a message. */
  get incomplete(): boolean {
    return this.#pendingBytes > 0;
  }

  /** Bytes that must be there before it is worth joining the pieces. */
  #needed(): number {
    const first = this.#pending[0]!;
    if (first.length >= grpcPrefixBytes) return grpcPrefixBytes + checkedLength(first, 0);
    return grpcPrefixBytes;
  }
}

function checkedLength(bytes: Buffer, at: number): number {
  if (bytes[at] !== 0) {
    throw new RpcError(grpcStatus.unimplemented, "grpc: compressed messages are not supported");
  }
  const length = bytes.readUInt32BE(at + 1);
  if (length > maxMessageBytes) {
    throw new RpcError(
      grpcStatus.resourceExhausted,
      `grpc: received message larger than max (${length} vs. ${maxMessageBytes})`,
    );
  }
  return length;
}

/** etcd's own limit, applied to requests that change something. */
export function checkRequestSize(request: Buffer): void {
  if (request.length > maxRequestBytes) throw etcdErrors.requestTooLarge();
}
