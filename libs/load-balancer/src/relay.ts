import type { Socket } from "node:net";

/**
 * Relays bytes between two sockets, both directions on their own: back-pressure from the slower reader, and the end of one
 * direction leaves the other open. Calls `done` once, when both sockets are closed.
 */
export function relay(a: Socket, b: Socket, done: () => void): void {
  let open = 2;
  const onClose = (peer: Socket) => (): void => {
    // A broken direction cannot be repaired: the other side must learn of it.
    peer.destroy();
    if (--open === 0) done();
  };
  a.once("close", onClose(b));
  b.once("close", onClose(a));
  a.on("error", () => {}); // the close event that follows says all there is to say
  b.on("error", () => {});
  a.pipe(b);
  b.pipe(a);
}
