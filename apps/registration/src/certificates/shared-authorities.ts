import type { AuthorityName } from "@keelson/pki";
import { type Answer, accepted } from "@keelson/protocol/supervisor";
import { type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import type { ClusterBootstrap } from "../bootstrap/cluster-bootstrap.ts";
import type { Authenticator } from "../tokens/authenticator.ts";
import type { CredentialStore } from "../tokens/credentials.ts";
import { replaceAuthorities } from "./ca-rotation.ts";
import type { LeafRenewal } from "./leaf-renewal.ts";
import type { ServerPki } from "./server-pki.ts";

/** How often the envelope in the datastore is held against the files. */
const publishPeriodMs = 6 * 3_600_000;

export interface AuthorityUsers {
  pki: ServerPki;
  credentials: CredentialStore;
  authenticator: Authenticator;
  renewal: LeafRenewal;
  /** Left out where the server stays alone. */
  bootstrap: ClusterBootstrap | undefined;
}

/** The cluster's CAs while they are replaced: here by an administrator's wish, on the other servers through the datastore. */
export class SharedAuthorities {
  readonly #users: AuthorityUsers;
  readonly #clock: Clock;
  readonly #log: Logger;
  #unfollow: (() => void) | undefined;
  #publishing: Timer | undefined;

  constructor(users: AuthorityUsers, clock: Clock, log: Logger) {
    this.#users = users;
    this.#clock = clock;
    this.#log = log;
  }

  /** Stores what stands on disk, and takes up from now on what other servers store. */
  async start(): Promise<void> {
    const { bootstrap, credentials, pki } = this.#users;
    if (bootstrap === undefined) return;
    await this.#publish();
    this.#publishing = this.#clock.setInterval(() => void this.#publish(), publishPeriodMs);
    this.#unfollow = bootstrap.follow(
      () => credentials.serverPassword,
      async (bootstrapJson) => {
        // The server that wrote them has checked them; nobody without the token could have.
        const changed = await replaceAuthorities(pki, bootstrapJson, true, this.#clock);
        if (changed.ok && changed.value.length > 0) await this.#takeUp(changed.value);
      },
    );
  }

  stop(): void {
    this.#publishing?.cancel();
    this.#unfollow?.();
  }

  /** Replaces CAs everywhere; refused, unless forced, when old and new do not vouch for each other. */
  async replace(bootstrapJson: string, force: boolean): Promise<Answer<void>> {
    const changed = await replaceAuthorities(this.#users.pki, bootstrapJson, force, this.#clock);
    if (!changed.ok) return changed;
    await this.#takeUp(changed.value);
    await this.#publish();
    return accepted(undefined);
  }

  /** After CAs were replaced: every leaf of theirs, and everything that trusts them. */
  async #takeUp(authorities: readonly AuthorityName[]): Promise<void> {
    const { pki, credentials, authenticator, renewal } = this.#users;
    await credentials.reload(pki.authority("server").bundlePem);
    authenticator.trust(pki.authority("client").bundlePem);
    await renewal.renew();
    this.#log.info({ authorities }, "certificate authorities replaced");
  }

  /** Keeps the envelope in line with the files. A datastore that is away costs nothing now: it comes round again. */
  async #publish(): Promise<void> {
    const { bootstrap, credentials } = this.#users;
    try {
      await bootstrap?.publish(credentials.serverPassword);
    } catch (error) {
      const reason = errorMessage(error);
      this.#log.warn({ reason }, "the cluster's identity could not be stored in the datastore yet");
    }
  }
}
