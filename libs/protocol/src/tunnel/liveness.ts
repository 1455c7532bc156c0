/** Pings of both ends. Go clients ping too, their servers only answer; either moves the peer's deadline. */
export const pingIntervalMs = 5_000;
/** Silence after which a Keelson peer is dead. It pings every 5 s, so this is three of its pings. */
export const keelsonDeadlineMs = 15_000;
/** Silence after which any other peer is dead, as remotedialer has it. */
export const legacyDeadlineMs = 60_000;

/**
 * Whether the other end lives, by a monotonic clock in milliseconds: whatever arrives is a sign of life, pings ask for one,
 * and silence beyond the deadline is death.
 */
export class Liveness {
  readonly #deadlineMs: number;
  #heardMs: number;
  #pingedMs: number;
  #awaitsPong = false;
  #roundTripMs: number | undefined;

  constructor(deadlineMs: number, nowMs: number) {
    this.#deadlineMs = deadlineMs;
    this.#heardMs = nowMs;
    this.#pingedMs = nowMs;
  }

  /** Of the last ping that was answered. */
  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  get awaitsPong(): boolean {
    return this.#awaitsPong;
  }

  silentMs(nowMs: number): number {
    return nowMs - this.#heardMs;
  }

  isDead(nowMs: number): boolean {
    return this.silentMs(nowMs) >= this.#deadlineMs;
  }

  /** A ping is due, whether the last one was answered or not: that is judged by the deadline alone. */
  isPingDue(nowMs: number): boolean {
    return nowMs - this.#pingedMs >= pingIntervalMs - 1;
  }

  heard(nowMs: number): void {
    this.#heardMs = nowMs;
  }

  pinged(nowMs: number): void {
    this.#pingedMs = nowMs;
    this.#awaitsPong = true;
  }

  ponged(nowMs: number): void {
    if (!this.#awaitsPong) return;
    this.#awaitsPong = false;
    this.#roundTripMs = nowMs - this.#pingedMs;
  }
}
