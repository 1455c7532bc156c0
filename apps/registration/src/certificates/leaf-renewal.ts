import type { Clock, Logger, Timer } from "@keelson/service";
import { takeRotationRequest } from "./rotation-request.ts";
import type { ServerPki } from "./server-pki.ts";

/** Leaves are looked at this often; the window before expiry is months. */
const renewalPeriodMs = 6 * 3_600_000;
/** How soon a rotation that the command line asks for begins. */
const requestPeriodMs = 2_000;

/** TLS options whose fields are always those of today. */
export interface LiveTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Renews this server's own leaves while it runs, and tells their users, who load them without a restart. */
export class LeafRenewal {
  readonly #pki: ServerPki;
  readonly #dataDir: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #listeners = new Set<(files: readonly string[]) => void>();
  readonly #timers: Timer[] = [];
  #isRunning = false;

  constructor(pki: ServerPki, dataDir: string, clock: Clock, log: Logger) {
    this.#pki = pki;
    this.#dataDir = dataDir;
    this.#clock = clock;
    this.#log = log;
  }

  start(): void {
    this.#timers.push(
      this.#clock.setInterval(() => void this.#guard(() => this.renew()), renewalPeriodMs),
      this.#clock.setInterval(() => void this.#guard(() => this.#renewRequested()), requestPeriodMs),
    );
  }

  stop(): void {
    for (const timer of this.#timers.splice(0)) timer.cancel();
  }

  /** Reissues the leaves that are due, and those of `files`; answers which. */
  async renew(files: readonly string[] = []): Promise<string[]> {
    const renewed = await this.#pki.renewLeaves(({ file }) => files.includes(file));
    if (renewed.length > 0) {
      this.#log.info({ certificates: renewed }, "certificates renewed");
      for (const listener of this.#listeners) listener(renewed);
    }
    return renewed;
  }

  /** Calls back with the files of renewed leaves; the returned function ends it. */
  onRenewed(listener: (files: readonly string[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A leaf with the server CA, for whoever spreads the options into each connection: it goes on after a renewal. */
  async liveTls(file: string): Promise<LiveTls> {
    const read = async (): Promise<LiveTls> => {
      const { certPem, keyPem } = await this.#pki.readPair(file);
      return { ca: this.#pki.authority("server").bundlePem, cert: certPem, key: keyPem };
    };
    let current = await read();
    this.onRenewed((files) => {
      if (!files.includes(file)) return;
      read().then(
        (renewed) => {
          current = renewed;
        },
        (error: unknown) => this.#log.error({ err: error, certificate: file }, "a renewed certificate cannot be read"),
      );
    });
    return {
      get ca() {
        return current.ca;
      },
      get cert() {
        return current.cert;
      },
      get key() {
        return current.key;
      },
    };
  }

  async #renewRequested(): Promise<void> {
    const files = await takeRotationRequest(this.#dataDir);
    if (files.length > 0) await this.renew(files);
  }

  async #guard(work: () => Promise<unknown>): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      await work();
    } catch (error) {
      this.#log.error({ err: error }, "certificates could not be renewed; trying again at the next check");
    } finally {
      this.#isRunning = false;
    }
  }
}
