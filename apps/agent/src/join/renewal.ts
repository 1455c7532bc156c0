import { planRenewal, readCertificate } from "@keelson/pki/csr";
import { type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import type { Joined } from "./join.ts";

const checkIntervalMs = 3_600_000;
const retryAfterMs = 300_000;

/** Renews the node's certificates while it runs, long before they end: a node that nobody restarts for years stays in. */
export class CertificateRenewal {
  readonly #current: () => Joined;
  readonly #renew: () => Promise<void>;
  readonly #clock: Clock;
  readonly #log: Logger;
  #timer: Timer | undefined;
  #stopped = false;

  /** `renew` fetches new certificates and puts them in place. */
  constructor(current: () => Joined, renew: () => Promise<void>, deps: { clock: Clock; log: Logger }) {
    this.#current = current;
    this.#renew = renew;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  start(): void {
    this.#plan(checkIntervalMs);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** Renews now if any certificate is due; never rejects. */
  async check(): Promise<void> {
    const now = this.#clock.now();
    const due = Object.entries(this.#current().leaves).filter(
      ([, { certPem }]) => planRenewal(readCertificate(certPem), now).renewAtMs <= now,
    );
    if (due.length === 0) return this.#plan(checkIntervalMs);
    try {
      await this.#renew();
      this.#log.info({ certificates: due.map(([name]) => name) }, "certificates renewed");
      this.#plan(checkIntervalMs);
    } catch (error) {
      this.#log.warn({ error: errorMessage(error) }, "certificates could not be renewed yet");
      this.#plan(retryAfterMs);
    }
  }

  #plan(delayMs: number): void {
    if (!this.#stopped) this.#timer = this.#clock.setTimeout(() => void this.check(), delayMs);
  }
}
