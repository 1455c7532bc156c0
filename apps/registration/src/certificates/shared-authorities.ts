import type { AuthorityName } from "@keelson/pki";
import { type Answer, accepted, refused } from "@keelson/protocol/supervisor";
import { type BootstrapData, parseBootstrapData } from "@keelson/secret-format";
import { type Clock, errorCode, errorMessage, type Logger, type Timer } from "@keelson/service";
import { readBootstrapFiles } from "../bootstrap/bootstrap-files.ts";
import type { ClusterBootstrap } from "../bootstrap/cluster-bootstrap.ts";
import type { Authenticator } from "../tokens/authenticator.ts";
import type { CredentialStore } from "../tokens/credentials.ts";
import { caPieces, checkAuthorities, type NewAuthority, piecesOf } from "./ca-rotation.ts";
import type { LeafRenewal } from "./leaf-renewal.ts";
import type { ServerPki } from "./server-pki.ts";

/** How often the envelope in the datastore is held against the files. */
const keepPeriodMs = 6 * 3_600_000;

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
  #keeping: Timer | undefined;
  /** Whether disk and datastore were held against each other since the start. */
  #isInLine = false;
  #last: Promise<void> = Promise.resolve();

  constructor(users: AuthorityUsers, clock: Clock, log: Logger) {
    this.#users = users;
    this.#clock = clock;
    this.#log = log;
  }

  /** Brings disk and datastore in line, and takes up from now on what other servers store. */
  async start(): Promise<void> {
    const { bootstrap, credentials } = this.#users;
    if (bootstrap === undefined) return;
    await this.#keepInLine(bootstrap);
    this.#keeping = this.#clock.setInterval(() => void this.#keepInLine(bootstrap), keepPeriodMs);
    this.#unfollow = bootstrap.follow(
      () => credentials.serverPassword,
      (contents) => this.#inTurn(() => this.#take(bootstrap, contents)),
    );
  }

  /** What is under way is finished first: half of the certificates would be of old CAs. */
  async stop(): Promise<void> {
    this.#keeping?.cancel();
    this.#unfollow?.();
    await this.#last;
  }

  /**
   * Replaces CAs everywhere; refused, unless forced, when old and new do not vouch for each other. The datastore has them
   * first: when it cannot be asked, nothing is changed.
   */
  async replace(bootstrapJson: string, force: boolean): Promise<Answer<void>> {
    return this.#inTurn(() => this.#replace(bootstrapJson, force));
  }

  async #replace(bootstrapJson: string, force: boolean): Promise<Answer<void>> {
    const { bootstrap, credentials, pki } = this.#users;
    const data = parse(bootstrapJson);
    const changed = data.ok ? checkAuthorities(pki, data.value, force, this.#clock) : data;
    if (!changed.ok) return changed;
    try {
      await bootstrap?.publish(credentials.serverPassword, piecesOf(changed.value, this.#clock.now()));
    } catch (error) {
      this.#log.error({ err: error }, "the CAs were not replaced");
      return refused(503, errorCode(error) ?? "ca/not-stored", `the CAs were not replaced: ${errorMessage(error)}`, {
        hint: "the old ones stay in use; try again when the datastore answers",
      });
    }
    await this.#install(changed.value);
    return accepted(undefined);
  }

  /**
   * Takes over what the envelope holds. At the first look after a start a file that is newer stays: it was put there while
   * the server was off, and is stored instead. Later only other servers' changes make a difference.
   */
  async #take(bootstrap: ClusterBootstrap, contents: BootstrapData): Promise<void> {
    const { credentials, pki } = this.#users;
    // The server that wrote them has checked them; nobody without the token could have.
    const changed = checkAuthorities(pki, contents, true, this.#clock);
    if (!changed.ok) this.#log.error({ reason: changed.refusal.message }, "the CAs in the datastore cannot be used");
    const stored = changed.ok ? changed.value : [];
    const ours = this.#isInLine ? {} : await readBootstrapFiles(pki.paths);
    const taken = stored.filter(({ name }) => {
      const { certificate } = caPieces[name];
      return !((ours[certificate]?.modifiedMs ?? 0) > (contents[certificate]?.modifiedMs ?? 0));
    });
    if (taken.length > 0) await this.#install(taken);
    if (!this.#isInLine) await bootstrap.publish(credentials.serverPassword);
    this.#isInLine = true;
  }

  async #install(changed: readonly NewAuthority[]): Promise<void> {
    for (const { name, bundlePem, keyPem } of changed) {
      await this.#users.pki.replaceAuthority(name, bundlePem, keyPem);
    }
    await this.#takeUp(changed.map(({ name }) => name));
  }

  /** After CAs were replaced: every leaf of theirs, and everything that trusts them. */
  async #takeUp(authorities: readonly AuthorityName[]): Promise<void> {
    const { pki, credentials, authenticator, renewal } = this.#users;
    await credentials.reload(pki.authority("server").bundlePem);
    authenticator.trust(pki.authority("client").bundlePem);
    await renewal.renew();
    this.#log.info({ authorities }, "certificate authorities replaced");
  }

  /** Catches up with what was missed. A datastore that is away costs nothing now: it comes round again. */
  #keepInLine(bootstrap: ClusterBootstrap): Promise<void> {
    return this.#inTurn(async () => {
      const { serverPassword } = this.#users.credentials;
      try {
        const contents = await bootstrap.read(serverPassword);
        if (contents !== undefined) return await this.#take(bootstrap, contents);
        await bootstrap.publish(serverPassword);
        this.#isInLine = true;
      } catch (error) {
        const isOtherToken = errorCode(error) === "bootstrap/other-token";
        const what = isOtherToken
          ? "this server runs on a token that is not the cluster's any more"
          : "the cluster's identity could not be held against the datastore's yet";
        this.#log[isOtherToken ? "error" : "warn"]({ reason: errorMessage(error) }, what);
      }
    });
  }

  /** One after the other: each looks at what the one before has written. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.then(
      () => {},
      () => {}, // the caller has it
    );
    return turn;
  }
}

function parse(bootstrapJson: string): Answer<BootstrapData> {
  try {
    return accepted(parseBootstrapData(bootstrapJson));
  } catch (error) {
    return refused(400, "ca/invalid", errorMessage(error));
  }
}
