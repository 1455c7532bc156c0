import { TunnelProtocolError } from "./errors.ts";
import { decodeHeader, type FrameHeader, frameTypes, maxHeaderLength, payloadLimits } from "./frame.ts";

export interface MessageHandlers {
  /** Payload of a Data frame as it arrives; `first` marks the first piece of the frame. Pieces may be empty. */
  data(connectionId: number, piece: Buffer, first: boolean, deadlineMs: number): void;
  /** Any other frame, whole, its payload cut to what the type's receiver reads. Unknown types come too. */
  control(type: number, connectionId: number, payload: Buffer): void;
}

const empty = Buffer.alloc(0);

/**
 * Turns the pieces of WebSocket messages into frames. Data passes through piece by piece; only a header cut in two and
 * the short payloads of control frames are ever copied.
 */
export class MessageReader {
  readonly #handlers: MessageHandlers;
  readonly #header: FrameHeader = { type: 0, connectionId: 0, deadlineMs: 0, length: 0 };
  #headerKnown = false;
  #head = empty;
  #payload: Buffer[] = [];
  #room = 0;

  constructor(handlers: MessageHandlers) {
    this.#handlers = handlers;
  }

  push(piece: Buffer, last: boolean): void {
    if (this.#headerKnown) {
      this.#body(piece, last, false);
      return;
    }
    const bytes = this.#head.length === 0 ? piece : Buffer.concat([this.#head, piece]);
    if (!decodeHeader(bytes, this.#header)) {
      if (last) throw new TunnelProtocolError("frame header is cut short");
      this.#head = Buffer.from(bytes.subarray(0, maxHeaderLength));
      return;
    }
    this.#head = empty;
    this.#headerKnown = true;
    this.#room = payloadLimits[this.#header.type] ?? 0;
    this.#body(bytes.subarray(this.#header.length), last, true);
  }

  #body(piece: Buffer, last: boolean, first: boolean): void {
    const { type, connectionId, deadlineMs } = this.#header;
    if (last) this.#headerKnown = false;
    if (type === frameTypes.data) {
      this.#handlers.data(connectionId, piece, first, deadlineMs);
      return;
    }
    if (this.#room > 0 && piece.length > 0) {
      const part = piece.subarray(0, this.#room);
      this.#payload.push(part);
      this.#room -= part.length;
    }
    if (!last) return;
    const payload = this.#payload.length === 1 ? this.#payload[0]! : Buffer.concat(this.#payload);
    this.#payload = [];
    this.#handlers.control(type, connectionId, payload);
  }
}
