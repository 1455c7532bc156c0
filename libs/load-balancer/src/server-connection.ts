import { connect, type Socket } from "node:net";
import { splitAddress } from "./address.ts";

/** Where a connection's read buffer starts, and how far a busy one grows. */
const firstBufferBytes = 8 * 1024;
const maxBufferBytes = 256 * 1024;
/** An idle connection is asked for a sign of life after so long, as in K3s. */
const keepAliveMs = 30_000;

/**
 * A connection to a server whose bytes are read into a buffer of its own instead of a fresh one per read: most of the cost
 * of relaying small messages is allocation. The buffer grows while reads fill it, so bulk needs few system calls.
 */
export class ServerConnection {
  readonly socket: Socket;
  #buffer = Buffer.allocUnsafeSlow(firstBufferBytes);
  #sink: ((bytes: Buffer) => "written" | "queued" | "full") | undefined;

  constructor(address: string) {
    const { host, port } = splitAddress(address);
    this.socket = connect({
      host,
      port,
      allowHalfOpen: true,
      noDelay: true,
      // A server whose host came back without its connections says so only when it is asked.
      keepAlive: true,
      keepAliveInitialDelay: keepAliveMs,
      onread: {
        buffer: () => this.#buffer,
        callback: (length, bytes) => this.#onRead(length, bytes as Buffer),
      },
    });
  }

  /**
   * Where bytes go from now on. `written`: the kernel took them, the buffer may be used again; `queued`: they are still
   * needed; `full`: so, and no more before the socket is resumed.
   */
  deliverTo(sink: (bytes: Buffer) => "written" | "queued" | "full"): void {
    this.#sink = sink;
  }

  #onRead(length: number, bytes: Buffer): boolean {
    const result = this.#sink?.(bytes.subarray(0, length)) ?? "written";
    const filled = length === bytes.length && bytes.length < maxBufferBytes;
    if (filled) this.#buffer = Buffer.allocUnsafeSlow(Math.min(bytes.length * 4, maxBufferBytes));
    else if (result !== "written") this.#buffer = Buffer.allocUnsafeSlow(bytes.length);
    return result !== "full";
  }
}
