import type { WriteOp } from "./write-op.ts";

/** Limits of one commit. */
const maxBatchOps = 512;
const maxBatchBytes = 4 << 20;
/** Waiting requests beyond this are refused with etcd's "too many requests". */
const maxWaitingOps = 50_000;
const maxWaitingBytes = 256 << 20;
/** etcd's request timeout at default settings: 5 s and two election timeouts. */
const requestTimeoutMs = 7_000;

/** A request on its way through the queue. */
export class Item {
  readonly op: WriteOp;
  readonly #deadlineMs: number;
  /** Set by evaluation; told to the client only once everything it rests on is durable. */
  refusal: { error: unknown } | undefined;
  /** The store's revision right after its evaluation. */
  revision = 0;
  #answered = false;

  constructor(op: WriteOp, nowMs: number) {
    this.op = op;
    this.#deadlineMs = nowMs + requestTimeoutMs;
  }

  get answered(): boolean {
    return this.#answered;
  }

  isLate(nowMs: number): boolean {
    return this.#deadlineMs <= nowMs;
  }

  /** Tells the client what evaluation decided, and that it is durable. */
  settle(): void {
    if (this.#answered) return;
    this.#answered = true;
    if (this.refusal !== undefined) this.op.fail(this.refusal.error);
    else this.op.complete(this.revision);
  }

  fail(error: unknown): void {
    if (this.#answered) return;
    this.#answered = true;
    this.op.fail(error);
  }
}

/** Requests that wait for their batch, first come first served. */
export class WaitingLine {
  #items: Item[] = [];
  #bytes = 0;

  get length(): number {
    return this.#items.length;
  }

  get isFull(): boolean {
    return this.#items.length >= maxWaitingOps || this.#bytes >= maxWaitingBytes;
  }

  push(op: WriteOp, nowMs: number): void {
    this.#items.push(new Item(op, nowMs));
    this.#bytes += op.bytes;
  }

  /** The requests of the next batch, without those that were given up meanwhile. */
  take(): Item[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#items.length && count < maxBatchOps && bytes < maxBatchBytes) {
      bytes += this.#items[count++]!.op.bytes;
    }
    this.#bytes -= bytes;
    const taken = this.#items.slice(0, count);
    this.#items = this.#items.slice(count);
    return taken.filter((item) => !item.answered);
  }

  failAll(error: unknown): void {
    const items = this.#items;
    this.#items = [];
    this.#bytes = 0;
    for (const item of items) item.fail(error);
  }

  failLate(nowMs: number, error: () => unknown): void {
    for (const item of this.#items) if (item.isLate(nowMs)) item.fail(error());
  }
}
