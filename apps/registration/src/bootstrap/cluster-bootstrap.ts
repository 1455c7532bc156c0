import { randomBytes } from "node:crypto";
import {
  type BootstrapData,
  bootstrapKey,
  bootstrapKeyPrefix,
  formatBootstrapData,
  normalizeToken,
  openBootstrap,
  parseBootstrapData,
  sealBootstrap,
} from "@keelson/secret-format";
import { type Clock, errorCode, errorMessage, KeelsonError, type Logger } from "@keelson/service";
import type { ServerPaths } from "../server-paths.ts";
import {
  openRotationNotice,
  rotationNoticeKey,
  rotationNoticeTtlSeconds,
  sealRotationNotice,
} from "../tokens/rotation-notice.ts";
import { readBootstrapFiles, sameBootstrapContents, writeBootstrapFiles } from "./bootstrap-files.ts";
import type { EnvelopeStore, StoreChange, StoredValue } from "./envelope-store.ts";

const lockPollMs = 1_000;
/** After this many looks at an empty envelope its maker is taken for dead. */
const lockPolls = 5;

/**
 * The cluster's identity in the datastore: an encrypted envelope of CAs, keys and passwords, under a key that is derived
 * from the token. The first server takes the key with an empty value (a lock), makes its files and fills it; every other
 * one opens it and writes the same files. Source: K3s bootstrap store, reference section 8.
 */
export class ClusterBootstrap {
  readonly #store: EnvelopeStore;
  readonly #paths: ServerPaths;
  readonly #clock: Clock;
  readonly #log: Logger;

  constructor(store: EnvelopeStore, paths: ServerPaths, clock: Clock, log: Logger) {
    this.#store = store;
    this.#paths = paths;
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Writes the files of an existing cluster (`joined`), or takes the lock to found one (`founder`). Tokens are tried in
   * order; the one that opened the envelope is answered.
   */
  async obtain(tokens: readonly string[]): Promise<{ role: "joined" | "founder"; token: string }> {
    const [wanted] = tokens;
    if (wanted === undefined) throw new KeelsonError("token/required", "token is required to join a cluster");
    for (let polls = 0; ; ) {
      const stored = await this.#store.list(bootstrapKeyPrefix);
      const filled = stored.filter(({ value }) => value !== "");
      if (filled.length > 0) return { role: "joined", token: await this.#open(filled, tokens) };
      const lock = stored.find(({ key }) => key === bootstrapKey(wanted)) ?? stored[0];
      if (lock === undefined) {
        if (await this.#store.create(bootstrapKey(wanted), "")) return { role: "founder", token: wanted };
        continue;
      }
      if (polls++ < lockPolls) {
        this.#log.info({ key: lock.key }, "another server is founding the cluster, waiting for it");
        await this.#pause();
        continue;
      }
      this.#log.warn({ key: lock.key }, "the server that was founding the cluster has gone, taking over");
      await this.#store.delete(lock.key, lock.revision);
      polls = 0;
    }
  }

  /** A token for the founder of a cluster that was given none; refused when the datastore already holds one's envelope. */
  async firstToken(): Promise<string> {
    const stored = await this.#store.list(bootstrapKeyPrefix);
    if (stored.length === 0) return randomBytes(16).toString("hex");
    throw new KeelsonError("token/required", "token is required to join a cluster", {
      hint: `the datastore holds ${stored.map(({ key }) => key).join(", ")}: give --token, as in server/token of a running server`,
    });
  }

  /** The contents of the envelope under a token; undefined when there is none. */
  async read(token: string): Promise<BootstrapData | undefined> {
    const key = bootstrapKey(token);
    const entry = (await this.#store.list(key)).find((candidate) => candidate.key === key);
    return entry === undefined || entry.value === "" ? undefined : contentsOf(token, entry);
  }

  /**
   * Stores the files as they stand on disk, with `changes` ahead of them, if they differ from the stored ones. Throws
   * `bootstrap/other-token` when the cluster's envelope is under another token: a second one would let the old token in again.
   */
  async publish(token: string, changes: BootstrapData = {}): Promise<void> {
    const key = bootstrapKey(token);
    for (let attempt = 0; attempt < 5; attempt++) {
      const files = { ...(await readBootstrapFiles(this.#paths)), ...changes };
      const envelopes = await this.#store.list(bootstrapKeyPrefix);
      const stored = envelopes.find((entry) => entry.key === key);
      if (stored === undefined) refuseSecondEnvelope(envelopes);
      else if (stored.value !== "" && sameBootstrapContents(files, contentsOf(token, stored))) return;
      const sealed = sealBootstrap(token, formatBootstrapData(files));
      const written =
        stored === undefined
          ? await this.#store.create(key, sealed)
          : await this.#store.replace(key, sealed, stored.revision);
      if (written) return;
    }
    throw new KeelsonError("bootstrap/contended", "the bootstrap envelope keeps changing under this server's hands", {
      hint: "is the same token being used by two clusters on one datastore?",
    });
  }

  /** Calls back with the contents of each envelope under the token that is in force then; the returned function ends it. */
  follow(token: () => string, onContents: (contents: BootstrapData) => Promise<void>): () => void {
    return this.#store.watch(bootstrapKeyPrefix, (sealed, key) => {
      if (key !== bootstrapKey(token())) return;
      const take = async (): Promise<void> => onContents(parseBootstrapData(openBootstrap(token(), sealed)));
      void take().catch((error: unknown) => {
        this.#log.error({ err: error }, "what another server changed could not be taken over; it is at the next start");
      });
    });
  }

  /**
   * Moves the envelope to a new token's key and leaves word of it to the other servers, all at once or not at all. Moving it
   * again to where it is finishes what was interrupted. Throws before anything is written when the current envelope cannot be
   * opened, or when the new token is that of another cluster.
   */
  async rekey(oldToken: string, newToken: string, passwd: string): Promise<void> {
    const [envelopes, [notice]] = await Promise.all([
      this.#store.list(bootstrapKeyPrefix),
      this.#store.list(rotationNoticeKey),
    ]);
    const at = (key: string): StoredValue | undefined => envelopes.find((entry) => entry.key === key);
    const [current, next] = [at(bootstrapKey(oldToken)), at(bootstrapKey(newToken))];
    if (current === undefined && next === undefined) refuseSecondEnvelope(envelopes);
    const files = await readBootstrapFiles(this.#paths);
    const contents: BootstrapData = {
      ...files,
      ...(current === undefined || current.value === "" ? {} : contentsOf(oldToken, current)),
      PasswdFile: { content: Buffer.from(passwd), modifiedMs: this.#clock.now() },
    };
    if (next !== undefined && !isOurs(newToken, next, contents)) {
      throw new KeelsonError("token/in-use", "the datastore already holds another cluster's envelope for that token", {
        hint: "choose another new token",
        status: 409,
      });
    }
    const changes: StoreChange[] = [
      {
        key: bootstrapKey(newToken),
        revision: next?.revision ?? 0,
        value: sealBootstrap(newToken, formatBootstrapData(contents)),
      },
      {
        key: rotationNoticeKey,
        revision: notice?.revision ?? 0,
        value: sealRotationNotice(oldToken, newToken),
        ttlSeconds: rotationNoticeTtlSeconds,
      },
      ...(current === undefined ? [] : [{ key: current.key, revision: current.revision }]),
    ];
    if (await this.#commit(changes)) return;
    throw new KeelsonError("token/rotating", "another server is changing the cluster's identity at this moment", {
      hint: "the old token stays in force; try again",
      status: 409,
    });
  }

  async #commit(changes: readonly StoreChange[]): Promise<boolean> {
    try {
      return await this.#store.commit(changes);
    } catch (cause) {
      throw new KeelsonError(
        "token/rotation-unconfirmed",
        `the datastore did not say whether it took the new token: ${errorMessage(cause)}`,
        {
          hint: "look at server/token in a moment; if the new token is not there, rotate to it again: that finishes what was begun",
          cause,
        },
      );
    }
  }

  async #open(stored: readonly StoredValue[], tokens: readonly string[]): Promise<string> {
    if (stored.length > 1) {
      this.#log.warn({ keys: stored.map(({ key }) => key) }, "found multiple bootstrap keys in storage");
    }
    for (const token of [...tokens, ""]) {
      const entry = stored.find(({ key }) => key === bootstrapKey(token));
      if (entry === undefined) continue;
      await writeBootstrapFiles(this.#paths, contentsOf(token, entry), this.#log);
      if (token !== "") return token;
      // Clusters from before the key was derived from the token: store it anew, under the token.
      const wanted = tokens[0]!;
      const sealed = sealBootstrap(wanted, formatBootstrapData(await readBootstrapFiles(this.#paths)));
      await this.#store.create(bootstrapKey(wanted), sealed);
      await this.#store.delete(entry.key, entry.revision);
      return wanted;
    }
    const rotated = await this.#rotatedToken(tokens);
    if (rotated !== undefined) return this.#open(stored, [rotated]);
    const found = stored.map(({ key }) => key).join(", ");
    const tried = tokens.map((token) => `${bootstrapKey(token)} (${describeToken(token)})`).join(", ");
    throw new KeelsonError(
      "bootstrap/other-token",
      `bootstrap data already found and encrypted with different token: the datastore holds ${found}, the configured token(s) would open ${tried}`,
      {
        hint: "give the token of this cluster (the file server/token on a running server); after a rotation both may be given: --token <new> --token <old>",
      },
    );
  }

  /** The token that a recent rotation replaced one of these by, while this server was off. */
  async #rotatedToken(tokens: readonly string[]): Promise<string | undefined> {
    const [notice] = await this.#store.list(rotationNoticeKey);
    const rotated = notice === undefined ? undefined : openRotationNotice(notice.value, tokens);
    if (rotated !== undefined)
      this.#log.warn("the server token was rotated while this server was off: change its --token");
    return rotated;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.setTimeout(resolve, lockPollMs);
    });
  }
}

function contentsOf(token: string, entry: StoredValue): BootstrapData {
  try {
    return parseBootstrapData(openBootstrap(token, entry.value));
  } catch (cause) {
    if (errorCode(cause) !== "bootstrap/wrong-token") throw cause;
    throw new KeelsonError("bootstrap/damaged", `the envelope ${entry.key} does not open with its own token`, {
      hint: "its value was changed or damaged: restore the datastore, or another server's data directory",
      cause,
    });
  }
}

/** Whether an envelope under a new token is of this cluster: made by a rotation that was interrupted. */
function isOurs(token: string, entry: StoredValue, ours: BootstrapData): boolean {
  if (entry.value === "") return false;
  const theirs = contentsOf(token, entry);
  return theirs.ServerCA !== undefined && ours.ServerCA?.content.equals(theirs.ServerCA.content) === true;
}

function refuseSecondEnvelope(envelopes: readonly StoredValue[]): void {
  const filled = envelopes.filter(({ value }) => value !== "").map(({ key }) => key);
  if (filled.length === 0) return;
  throw new KeelsonError(
    "bootstrap/other-token",
    `the datastore holds the cluster's identity under another token than this server's: ${filled.join(", ")}`,
    {
      hint:
        "restart this server with the token of this cluster (the file server/token on another server); if the datastore was " +
        `restored to a time before the token was changed, delete that key (etcdctl del ${filled[0]}) and restart`,
    },
  );
}

/** Enough to tell one's own tokens apart in an error, too little to guess one. */
function describeToken(token: string): string {
  const password = normalizeToken(token);
  return `a token of ${password.length} characters`;
}
