import type { Duplex } from "node:stream";

/** An ended connection that takes not a byte for this long is given up, in milliseconds. */
const stallMs = 60_000;
/** How long the other end of a connection may go on sending after all that was for it has gone out, in milliseconds. */
const lingerMs = 1_000;

/**
 * Joins two connections: bytes flow both ways with back-pressure, and the end of one direction leaves the other open. What
 * `pipe` does, with a third of the memory: a node may hold ten thousand idle streams. Errors are the caller's, and closing is:
 * see {@link closeAfter}.
 */
export function joinConnections(a: Duplex, b: Duplex): void {
  flow(a, b);
  flow(b, a);
}

function flow(from: Duplex, to: Duplex): void {
  from.on("data", (chunk: Buffer) => {
    // A tunnel stream that the other end closed takes no more; its close event ends this side too.
    if (!to.writableEnded && !to.write(chunk)) from.pause();
  });
  to.on("drain", () => from.resume());
  from.on("end", () => to.end());
}

/**
 * To be called for one of two joined connections once the other has closed. One that was not ended was cut off, and is cut
 * off here too. One that was ended may still have a slow reader: all that was handed to it goes out first. What it sends
 * meanwhile is dropped, not left unread, or the kernel would answer with a reset that takes what is under way with it.
 */
export function closeAfter(connection: Duplex): void {
  if (connection.destroyed) return;
  if (!connection.writableEnded) return void connection.destroy();
  connection.resume();
  let waiting = connection.writableLength;
  const stalled = setInterval(() => {
    if (connection.writableLength === waiting) connection.destroy();
    waiting = connection.writableLength;
  }, stallMs).unref();
  const linger = (): void => {
    clearInterval(stalled);
    setTimeout(() => connection.destroy(), lingerMs).unref();
  };
  connection.once("close", () => clearInterval(stalled));
  if (connection.writableFinished) linger();
  else connection.once("finish", linger);
}
