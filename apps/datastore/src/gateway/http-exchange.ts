/** One HTTP request and its answer, whichever version of HTTP they travel by. */
export interface HttpExchange {
  readonly method: string;
  /** A path with its query, or a whole URL, as the client wrote it. */
  readonly target: string;
  /** Host or `:authority`. */
  readonly authority: string;
  readonly authorization: string | undefined;
  /** Takes the body of the request; what nobody takes is thrown away. */
  listen(listener: ExchangeListener): void;
  sendHead(status: number, headers: Record<string, string>): void;
  readonly headSent: boolean;
  write(text: string): void;
  /** Ends the answer; the rest of the request is thrown away. */
  end(text?: string): void;
  /** Nothing more can be sent: the answer has ended, or the client is gone. */
  readonly ended: boolean;
  /** Bytes sent and not yet taken by the client's flow control or socket. */
  readonly pendingBytes: number;
  /** Breaks off, for an answer that cannot be completed. */
  destroy(): void;
}

export interface ExchangeListener {
  onData(bytes: Buffer): void;
  /** The request is complete. */
  onEnd(): void;
  /** {@link HttpExchange.pendingBytes} went down. */
  onDrain?(): void;
  /** The exchange is over; not `answered` when the client went away before it had its answer. */
  onClosed(answered: boolean): void;
}
