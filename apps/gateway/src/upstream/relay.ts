import type { Duplex } from "node:stream";

/**
 * Joins two streams until both are done: bytes with back-pressure, the end of one direction as the end of that
 * direction only (half-close), and an abrupt loss of one side as the loss of the other. Never times out.
 */
export function relay(a: Duplex, b: Duplex): void {
  const cut = (): void => {
    a.destroy();
    b.destroy();
  };
  a.on("error", cut);
  b.on("error", cut);
  a.once("close", () => {
    if (!a.readableEnded || !b.writableFinished) b.destroy();
  });
  b.once("close", () => {
    if (!b.readableEnded || !a.writableFinished) a.destroy();
  });
  a.pipe(b);
  b.pipe(a);
}
