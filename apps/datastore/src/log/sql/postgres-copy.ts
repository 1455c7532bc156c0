import pg from "pg";

/** `PGCOPY\n\xff\r\n\0` and flags come before the length of an extension that may follow. */
const extensionLengthAt = 15;
const headerBytes = 19;
/** Stands for the number of columns where no row follows. */
const endOfRows = -1;

/** One row in binary format, valid only until the next. NULL reads as 0, "" or undefined. */
export class BinaryRow {
  #chunk: Buffer = Buffer.alloc(0);
  readonly #starts: number[] = [];
  readonly #lengths: number[] = [];

  /** Takes the row that begins at `start`; returns where it ends. */
  read(chunk: Buffer, start: number, columns: number): number {
    this.#chunk = chunk;
    let at = start;
    for (let column = 0; column < columns; column++) {
      const length = chunk.readInt32BE(at);
      at += 4;
      this.#starts[column] = at;
      this.#lengths[column] = length;
      if (length > 0) at += length;
    }
    return at;
  }

  /** int4 or int8, whichever the table has. */
  integer(column: number): number {
    const at = this.#starts[column]!;
    const length = this.#lengths[column]!;
    if (length < 0) return 0;
    if (length === 4) return this.#chunk.readInt32BE(at);
    return this.#chunk.readInt32BE(at) * 0x1_0000_0000 + this.#chunk.readUInt32BE(at + 4);
  }

  /** An int8 that is an id of 64 bits. */
  bigint(column: number): bigint {
    return this.#lengths[column]! < 0 ? 0n : this.#chunk.readBigInt64BE(this.#starts[column]);
  }

  text(column: number): string {
    const start = this.#starts[column]!;
    return this.#lengths[column]! <= 0 ? "" : this.#chunk.toString("utf8", start, start + this.#lengths[column]!);
  }

  /** A view that the next row overwrites: copy what is kept. */
  bytes(column: number): Buffer | undefined {
    const start = this.#starts[column]!;
    return this.#lengths[column]! < 0 ? undefined : this.#chunk.subarray(start, start + this.#lengths[column]!);
  }
}

/**
 * `COPY (SELECT …) TO STDOUT (FORMAT binary)`: rows as bytes, one at a time, while they arrive. Of a query the library
 * keeps all rows as text, and a bytea as twice as many digits. Source: PostgreSQL's documentation of COPY, "Binary Format".
 */
export class PostgresCopy extends pg.Query {
  /** The library looks for it here. */
  readonly query_timeout: number;
  readonly #onRow: (row: BinaryRow) => void;
  readonly #row = new BinaryRow();
  #isFirst = true;
  #failure: unknown;

  constructor(select: string, timeoutMs: number, onRow: (row: BinaryRow) => void, done: (error: unknown) => void) {
    const callback = (error: unknown): void => done(error ?? this.#failure);
    super({ text: `COPY (${select}) TO STDOUT (FORMAT binary)`, callback } as pg.QueryConfig);
    this.query_timeout = timeoutMs;
    this.#onRow = onRow;
  }

  /** Called by the library with each piece of data: a row, the first one behind the header. */
  handleCopyData({ chunk }: { chunk: Buffer }): void {
    if (this.#failure !== undefined) return;
    try {
      this.#read(chunk);
    } catch (error) {
      this.#failure = error;
    }
  }

  #read(chunk: Buffer): void {
    let at = 0;
    if (this.#isFirst) {
      this.#isFirst = false;
      at = headerBytes + chunk.readUInt32BE(extensionLengthAt);
    }
    while (at < chunk.length) {
      const columns = chunk.readInt16BE(at);
      if (columns === endOfRows) return;
      at = this.#row.read(chunk, at + 2, columns);
      this.#onRow(this.#row);
    }
  }
}
