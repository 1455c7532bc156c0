import type { KeyObject } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import {
  addressOf,
  createCertificateRequest,
  exportPrivateKey,
  generateEcKey,
  importPrivateKey,
  isDnsName,
  normalizeName,
  readCertificate,
} from "@keelson/pki";
import type { RegistrationClient, ListenerCertificate as Signed } from "@keelson/protocol/supervisor";
import { type Clock, KeelsonError, type Logger, readFileIfExists, type Timer, writeFileAtomic } from "@keelson/service";
import { formatListenerFile, parseListenerFile } from "./certificate-file.ts";

export interface ListenerCertificateOptions {
  /** Folder of `dynamic-cert.json`; left out, the certificate lives in memory only. */
  directory?: string;
  /** Is given each new certificate, as the JSON of that file. */
  mirror?: (secretJson: string) => void;
}

/** How long a handshake may wait for its name; then it gets the certificate as it is. */
const growthWaitMs = 2_000;
/** Names that clients bring along get at most one signature a second, so that nobody can keep the signer busy. */
const growthIntervalMs = 1_000;
/** Names a certificate may carry, and refused names that are remembered. */
const maxNames = 250;
const maxRefusedNames = 1_000;
/** A name that was refused may have become a server's in the meantime. */
const refusalMs = 300_000;
const retryMs = 30_000;
const longestTimerMs = 24 * 3_600_000;

/**
 * The certificate of the public port: grows by the names clients reach it under, as far as registration's guard lets
 * them through, and renews itself before it expires.
 *
 * - `ensure(name)` is asked for every accepted address, server name and IP Host header. A name that is on the
 *   certificate, or was refused, costs one lookup.
 * - A new name starts a signature, at most one per second and one at a time; names that come meanwhile join the next.
 * - Whatever goes wrong, the certificate in use stays in use.
 */
export class ListenerCertificate {
  readonly #registration: RegistrationClient;
  readonly #file: string | undefined;
  readonly #mirror: ((secretJson: string) => void) | undefined;
  readonly #regenerateFile: string | undefined;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #onChange: (certificate: { cert: string; key: string }) => void;
  #key: KeyObject | undefined;
  #chainPem = "";
  #names = new Set<string>();
  readonly #learned = new Set<string>();
  readonly #refused = new Set<string>();
  #refusedSinceMs = 0;
  #signing: Promise<void> | undefined;
  #growth: Promise<void> | undefined;
  #lastGrowthMs = Number.NEGATIVE_INFINITY;
  #renewal: Timer | undefined;

  constructor(
    registration: RegistrationClient,
    options: ListenerCertificateOptions,
    onChange: (certificate: { cert: string; key: string }) => void,
    deps: { log: Logger; clock: Clock },
  ) {
    this.#registration = registration;
    this.#file = options.directory === undefined ? undefined : join(options.directory, "dynamic-cert.json");
    this.#regenerateFile =
      options.directory === undefined ? undefined : join(options.directory, "dynamic-cert-regenerate");
    this.#mirror = options.mirror;
    this.#onChange = onChange;
    this.#log = deps.log;
    this.#clock = deps.clock;
  }

  get pem(): { cert: string; key: string } {
    return { cert: this.#chainPem, key: this.#key === undefined ? "" : exportPrivateKey(this.#key) };
  }

  /** Wall-clock milliseconds at which the certificate in use expires. */
  get expiryMs(): number {
    return expiryOf(this.#chainPem);
  }

  /** Takes over the stored key and names and has the certificate signed. Throws when there is none to serve with. */
  async start(): Promise<void> {
    const stored = await this.#load();
    if (stored !== undefined) {
      for (const name of stored.names) this.#learned.add(name);
    }
    try {
      await this.#sign();
    } catch (error) {
      // A server that comes back while registration is away serves with what it has, if that is still good.
      if (stored === undefined || expiryOf(stored.chainPem) <= this.#clock.now()) throw error;
      this.#log.warn({ err: error }, "listener certificate could not be renewed; serving with the stored one");
      this.#chainPem = stored.chainPem;
      this.#names = new Set(stored.names);
      this.#renewIn(retryMs);
    }
  }

  stop(): void {
    this.#renewal?.cancel();
  }

  /**
   * Asks for `name` (a DNS name or IP literal) on the certificate. Undefined when nothing is to be waited for; else a
   * promise that settles, without ever failing, once the name is there or will not be for now.
   */
  ensure(asWritten: string): Promise<void> | undefined {
    if (this.#names.has(asWritten)) return undefined;
    const name = normalizeName(asWritten);
    if (this.#names.has(name)) return undefined;
    const nowMs = this.#clock.monotonic();
    if (nowMs - this.#refusedSinceMs > refusalMs) this.#refused.clear();
    if (this.#refused.has(name) || !isName(name) || this.#learned.size >= maxNames) return undefined;
    this.#learned.add(name);
    this.#growth ??= this.#growSoon();
    return Promise.race([this.#growth, wait(this.#clock, growthWaitMs)]);
  }

  /** Signs again with what is known now: after a change of the CA, or when renewal is due. */
  async renew(): Promise<void> {
    await this.#signing;
    await this.#sign();
  }

  /** The next signature for names that clients brought; until it begins, further names join it. */
  async #growSoon(): Promise<void> {
    const sinceMs = this.#clock.monotonic() - this.#lastGrowthMs;
    if (sinceMs < growthIntervalMs) await wait(this.#clock, growthIntervalMs - sinceMs);
    while (this.#signing !== undefined) await this.#signing;
    this.#growth = undefined;
    this.#lastGrowthMs = this.#clock.monotonic();
    const asked = [...this.#learned].filter((name) => !this.#names.has(name));
    try {
      await this.#sign();
    } catch (error) {
      this.#log.warn({ err: error, names: asked }, "listener certificate could not take up names");
      for (const name of asked) this.#learned.delete(name);
    }
  }

  #sign(): Promise<void> {
    const running = this.#signNow().finally(() => {
      this.#signing = undefined;
    });
    this.#signing = running.catch(() => {});
    return running;
  }

  async #signNow(): Promise<void> {
    const asked = [...this.#learned];
    this.#key ??= await generateEcKey();
    const csrDer = createCertificateRequest(this.#key);
    const answer = await this.#registration.signListener({ csrDer, names: asked });
    if (!answer.ok) {
      const { code, message, hint, status } = answer.refusal;
      throw new KeelsonError(code, message, { status, ...(hint === undefined ? {} : { hint }) });
    }
    const signed = answer.value;
    this.#settle(asked, signed);
    const changed = signed.chainPem !== this.#chainPem;
    this.#chainPem = signed.chainPem;
    if (changed) this.#onChange(this.pem);
    this.#renewIn(Math.max(retryMs, signed.renewAtMs - this.#clock.now()));
    await this.#store();
  }

  #settle(asked: readonly string[], signed: Signed): void {
    this.#names = new Set(signed.names);
    for (const name of asked) {
      if (this.#names.has(name)) continue;
      this.#learned.delete(name);
      if (this.#refused.size >= maxRefusedNames) this.#refused.clear();
      if (this.#refused.size === 0) this.#refusedSinceMs = this.#clock.monotonic();
      this.#refused.add(name);
      this.#log.info(
        { name },
        "name not taken up by the listener certificate: not among --tls-san or server addresses",
      );
    }
  }

  #renewIn(delayMs: number): void {
    this.#renewal?.cancel();
    this.#renewal = this.#clock.setTimeout(
      () => {
        this.renew().catch((error: unknown) => {
          this.#log.error({ err: error }, "listener certificate could not be renewed");
          this.#renewIn(retryMs);
        });
      },
      Math.min(delayMs, longestTimerMs),
    );
  }

  async #load(): Promise<{ chainPem: string; names: string[] } | undefined> {
    if (this.#file === undefined || this.#regenerateFile === undefined) return undefined;
    if ((await readFileIfExists(this.#regenerateFile)) !== undefined) {
      await rm(this.#regenerateFile);
      return undefined;
    }
    const text = await readFileIfExists(this.#file);
    const stored = text === undefined ? undefined : parseListenerFile(text);
    if (stored === undefined) return undefined;
    try {
      const key = importPrivateKey(stored.keyPem);
      if (key.asymmetricKeyDetails?.namedCurve !== "prime256v1") return undefined;
      this.#key = key;
      return stored;
    } catch (error) {
      this.#log.warn({ err: error, file: this.#file }, "stored listener key is not readable; a new one is made");
      return undefined;
    }
  }

  async #store(): Promise<void> {
    const { cert: chainPem, key: keyPem } = this.pem;
    const text = formatListenerFile({ chainPem, keyPem }, [...this.#names]);
    this.#mirror?.(text);
    if (this.#file !== undefined) await writeFileAtomic(this.#file, text, 0o600);
  }
}

/** Zero for what is not a certificate. */
function expiryOf(chainPem: string): number {
  try {
    return readCertificate(chainPem).notAfterMs;
  } catch {
    return 0;
  }
}

function wait(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimeout(resolve, delayMs);
  });
}

/** An IP literal without zone, or a DNS name; wildcards are never learned at run time. */
function isName(name: string): boolean {
  return addressOf(name) !== undefined || (isDnsName(name) && !name.startsWith("*"));
}
