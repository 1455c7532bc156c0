import { bootstrapKey, bootstrapKeyPrefix, openBootstrap, parseBootstrapData } from "@keelson/secret-format";
import { errorMessage, type Logger } from "@keelson/service";
import type { EnvelopeStore } from "../bootstrap/envelope-store.ts";
import type { CredentialStore } from "./credentials.ts";
import { openRotationNotice, rotationNoticeKey } from "./rotation-notice.ts";

/**
 * A server that could not hear of a token rotation while its notice was there, because it was cut off or stopped for longer:
 * the cluster's envelope is under a token that it does not know. It must not let anybody in by the old one, and takes up the
 * new one from the first who shows it: only the cluster's token opens the envelope.
 */
export class MissedRotation {
  readonly #store: EnvelopeStore;
  readonly #credentials: CredentialStore;
  readonly #log: Logger;
  readonly #ownRotation: () => Promise<unknown> | undefined;
  #unfollow: (() => void) | undefined;
  #last: Promise<void> = Promise.resolve();

  /** `ownRotation` is the rotation under way on this server, if there is one. */
  constructor(
    store: EnvelopeStore,
    credentials: CredentialStore,
    log: Logger,
    ownRotation: () => Promise<unknown> | undefined,
  ) {
    this.#store = store;
    this.#credentials = credentials;
    this.#log = log;
    this.#ownRotation = ownRotation;
  }

  start(): void {
    this.#unfollow = this.#store.watch(bootstrapKeyPrefix, () => {
      this.#last = this.#last
        .then(() => this.#look())
        .catch((error: unknown) => {
          this.#log.warn({ reason: errorMessage(error) }, "could not see whether the token is the cluster's still");
        });
    });
  }

  stop(): void {
    this.#unfollow?.();
  }

  /** Whether a password that is not known here is the cluster's token; if so it is this server's from now on. */
  async takesUp(password: string): Promise<boolean> {
    if (!this.#credentials.isSuspended) return false;
    const key = bootstrapKey(password);
    const envelope = (await this.#store.list(key)).find((entry) => entry.key === key);
    if (envelope === undefined || envelope.value === "") return false;
    parseBootstrapData(openBootstrap(password, envelope.value));
    await this.#credentials.replaceServerPassword(password);
    this.#log.info("took up the server token that the cluster was rotated to: somebody showed it");
    return true;
  }

  async #look(): Promise<void> {
    // One that is made here has written its envelope before its files.
    await this.#ownRotation();
    const { serverPassword } = this.#credentials;
    const [envelopes, [notice]] = await Promise.all([
      this.#store.list(bootstrapKeyPrefix),
      this.#store.list(rotationNoticeKey),
    ]);
    if (serverPassword !== this.#credentials.serverPassword) return this.#look(); // a notice was taken over meanwhile
    const filled = envelopes.filter(({ value }) => value !== "").map(({ key }) => key);
    const isKnown = filled.length === 0 || filled.includes(bootstrapKey(serverPassword));
    const isTold = notice !== undefined && openRotationNotice(notice.value, [serverPassword]) !== undefined;
    if (isKnown || isTold) return this.#credentials.resume();
    if (this.#credentials.isSuspended) return;
    this.#credentials.suspend();
    this.#log.error(
      {
        keys: filled,
        hint:
          "restart this server with the cluster's token (the file server/token on another server), or join somebody through it " +
          "with that token; if the datastore was restored to a time before a rotation, delete that key and restart",
      },
      "the server token was rotated and this server did not hear of it: it refuses the old one and does not know the new one",
    );
  }
}
