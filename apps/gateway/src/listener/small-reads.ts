import type { Socket } from "node:net";

/** Below the 1,024 bytes that Node's TLS sets aside for what a client sends. */
const pieceBytes = 1_000;

/**
 * Lets TLS take what has already been read of a connection in small pieces, each of which it consumes before the next. A
 * ClientHello of today is longer than the buffer that TLS begins with: taken whole it would fill it, and Node would put a
 * second one of 16 KiB beside it that stays until the connection ends.
 */
export function readInSmallPieces(socket: Socket): void {
  const read = socket.read.bind(socket);
  socket.read = (bytes?: number): unknown =>
    bytes === undefined && socket.readableLength > pieceBytes ? read(pieceBytes) : read(bytes);
}
