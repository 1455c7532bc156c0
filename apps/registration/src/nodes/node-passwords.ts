import { timingSafeEqual } from "node:crypto";
import {
  type Answer,
  accepted,
  type Identity,
  type NodeClaims,
  nodeNameOf,
  refused,
} from "@keelson/protocol/supervisor";
import {
  hashNodePassword,
  isProvisionalHash,
  nodePasswordHashOf,
  nodePasswordNamespace,
  nodePasswordSecret,
  nodePasswordSecretName,
  nodePasswordSecretType,
  type SecretObject,
  secretsEqual,
  verifyNodePassword,
} from "@keelson/secret-format";
import { type Clock, errorCode, errorMessage, KeelsonError, type Logger, readFileIfExists } from "@keelson/service";
import { isApiAway } from "../cluster/api-away.ts";
import type { ClusterApi } from "../cluster/cluster-api.ts";
import { HashHardening } from "./hash-hardening.ts";
import { HashQueue, QueueFull } from "./hash-queue.ts";
import { maxNodeName, parseNodeName } from "./node-names.ts";
import { VerifiedCache } from "./verified-cache.ts";

export interface NodePasswordOptions {
  /** The node that this server itself is, if it runs an agent: its password is checked against the local file early on. */
  ownNode?: { name: string; passwordFile: string };
  hashConcurrency: number;
  /** Hashes that may wait; beyond them requests are answered with 429. */
  maxWaitingHashes: number;
  /** When a new name would wait longer than this for its hash, new names are claimed with provisional ones, in milliseconds. */
  provisionalAfterMs: number;
}

/** A password that was accepted before it could be compared with the Secret. */
export interface DeferredCheck {
  nodeName: string;
  password: string;
}

/** `damaged`: the stored hash is none. */
export type Verdict = "match" | "mismatch" | "damaged";

/** A hash for a node that is under way. */
interface Pending {
  digest: Buffer;
  verdict: Promise<Verdict>;
}

/**
 * Verifies who may use a node name, in the order of the supervisor reference (4.3): the first password for a name is
 * stored as a hash in a Secret, every later one must match it. Hashing is costly on purpose, so it runs in a bounded queue,
 * at most once for a name at a time, and a password that matched before costs nothing. When many new nodes come at once,
 * each name is claimed with a provisional hash, which any server can verify, and gets its full and immutable one when the
 * storm is over: a claim is stored before it is acknowledged, in every case.
 */
export class NodePasswords {
  readonly #options: NodePasswordOptions;
  readonly #api: ClusterApi;
  readonly #log: Logger;
  readonly #defer: (check: DeferredCheck) => void;
  readonly #queue: HashQueue;
  readonly #hardening: HashHardening;
  readonly #matched: VerifiedCache;
  readonly #mismatched = new VerifiedCache(2_000);
  /** First registrations under way: the name is taken from the moment at which its first password arrives. */
  readonly #reservations = new Map<string, Pending>();
  /** Comparisons under way, one for a node: guessing at one name must not fill the queue of all. */
  readonly #comparisons = new Map<string, Pending>();

  constructor(
    options: NodePasswordOptions,
    api: ClusterApi,
    matched: VerifiedCache,
    clock: Clock,
    log: Logger,
    defer: (check: DeferredCheck) => void,
  ) {
    this.#options = options;
    this.#matched = matched;
    this.#api = api;
    this.#log = log;
    this.#defer = defer;
    this.#queue = new HashQueue({ concurrency: options.hashConcurrency, maxWaiting: options.maxWaitingHashes });
    this.#hardening = new HashHardening(api, clock, log, (hash, password) => this.#matched.remember(hash, password));
  }

  /** Hashes that run or wait. */
  get queueDepth(): number {
    return this.#queue.depth + this.#hardening.pending;
  }

  stop(): void {
    this.#hardening.stop();
  }

  /** The node that the request speaks for, or the protocol's refusal. */
  async verify(claims: NodeClaims, caller: Identity): Promise<Answer<{ nodeName: string }>> {
    if (claims.name === undefined) return refused(400, "node-name/missing", "node name not set");
    if (claims.password === undefined) return refused(400, "node-password/missing", "node password not set");
    const nodeName = parseNodeName(claims.name);
    if (nodeName === undefined) {
      return refused(403, "node-name/invalid", `invalid node name ${JSON.stringify(claims.name.slice(0, 64))}`, {
        hint: `a node name has at most ${maxNodeName} lower-case letters, digits, '-' and '.'; set one with --node-name`,
      });
    }
    const callerNode = nodeNameOf(caller);
    if (callerNode !== undefined && callerNode !== nodeName) {
      return refused(400, "node-name/not-callers", "header node name does not match auth node name");
    }
    this.#hardening.postpone();
    const early = await this.#beforeApi(nodeName, claims.password);
    if (early !== undefined) return early;
    if (callerNode !== undefined && !(await this.#nodeExists(nodeName))) {
      return refused(401, "node/gone", `node '${nodeName}' does not exist any more`, {
        hint: "the agent registers again with its token",
      });
    }
    return this.#verifyWithApi(nodeName, claims.password);
  }

  /** Compares a password with the Secret, creating it on first use. Throws when the API does not answer. */
  async check(nodeName: string, password: string): Promise<Verdict> {
    const reserved = this.#joinReservation(nodeName, password);
    if (reserved !== undefined) return reserved;
    const secret = await this.#api.getSecret(nodePasswordSecretName(nodeName));
    if (secret !== undefined) return this.#compare(nodeName, secret, password);
    // Another request may have come this far while this one asked the API.
    return this.#joinReservation(nodeName, password) ?? this.#reserve(nodeName, password);
  }

  #joinReservation(nodeName: string, password: string): Promise<Verdict> | undefined {
    const pending = this.#reservations.get(nodeName);
    if (pending === undefined) return undefined;
    const same = timingSafeEqual(pending.digest, this.#matched.digest(nodeName, password));
    return same ? pending.verdict : Promise.resolve("mismatch");
  }

  #reserve(nodeName: string, password: string): Promise<Verdict> {
    const verdict = this.#register(nodeName, password).finally(() => this.#reservations.delete(nodeName));
    this.#reservations.set(nodeName, { digest: this.#matched.digest(nodeName, password), verdict });
    return verdict;
  }

  async #register(nodeName: string, password: string): Promise<Verdict> {
    const provisional = this.#isStorm && this.#hardening.pending < this.#options.maxWaitingHashes;
    const hash = provisional
      ? await hashNodePassword(password, { provisional })
      : await this.#queue.run(() => hashNodePassword(password));
    if ((await this.#api.createSecret(nodePasswordSecret(nodeName, hash, !provisional))) === "created") {
      this.#matched.remember(hash, password);
      this.#log.info({ node: nodeName }, "node registered");
      if (provisional) this.#hardening.add(nodeName, password);
      return "match";
    }
    const secret = await this.#api.getSecret(nodePasswordSecretName(nodeName));
    if (secret === undefined) {
      throw new KeelsonError("node-password/vanished", `the Secret of node ${nodeName} came and went`);
    }
    return this.#compare(nodeName, secret, password);
  }

  /** Begins when a new name would have to wait for its hash, and lasts until every provisional one is hardened. */
  get #isStorm(): boolean {
    return this.#hardening.pending > 0 || this.#queue.estimatedWaitMs > this.#options.provisionalAfterMs;
  }

  async #compare(nodeName: string, secret: SecretObject, password: string): Promise<Verdict> {
    const hash = nodePasswordHashOf(secret);
    if (hash === undefined) return "damaged";
    if (this.#matched.has(hash, password)) {
      if (!secret.immutable && isProvisionalHash(hash)) this.#hardening.add(nodeName, password);
      return "match";
    }
    if (this.#mismatched.has(hash, password)) return "mismatch";
    const digest = this.#matched.digest(hash, password);
    const pending = this.#comparisons.get(nodeName);
    if (pending !== undefined) {
      if (timingSafeEqual(pending.digest, digest)) return pending.verdict;
      throw new QueueFull(1);
    }
    const verdict = this.#compareHash(nodeName, secret, hash, password).finally(() =>
      this.#comparisons.delete(nodeName),
    );
    this.#comparisons.set(nodeName, { digest, verdict });
    return verdict;
  }

  async #compareHash(nodeName: string, secret: SecretObject, hash: string, password: string): Promise<Verdict> {
    let matches: boolean;
    try {
      matches = await this.#queue.run(() => verifyNodePassword(hash, password));
    } catch (error) {
      // Nothing that comes later would make such a hash readable, so it must not open the door either.
      if (errorCode(error) === "node-password/hash-invalid") return "damaged";
      throw error;
    }
    if (!matches) {
      this.#mismatched.remember(hash, password);
      return "mismatch";
    }
    this.#matched.remember(hash, password);
    if (isProvisionalHash(hash)) this.#hardening.add(nodeName, password);
    if (secret.type !== nodePasswordSecretType) await this.#replaceOldSecret(nodeName, secret, hash);
    return "match";
  }

  /** v1.21 stored type Opaque; the type of a Secret cannot be changed, so it is made anew with the same hash. */
  async #replaceOldSecret(nodeName: string, secret: SecretObject, hash: string): Promise<void> {
    try {
      if (!(await this.#api.deleteSecret(secret.metadata.name, secret.metadata.uid))) return;
      await this.#api.createSecret(nodePasswordSecret(nodeName, hash));
    } catch (error) {
      this.#log.warn(
        { node: nodeName, reason: errorMessage(error) },
        "the node-password Secret keeps its old type for now",
      );
    }
  }

  async #verifyWithApi(nodeName: string, password: string): Promise<Answer<{ nodeName: string }>> {
    try {
      const verdict = await this.check(nodeName, password);
      return verdict === "match" ? accepted({ nodeName }) : refuse(nodeName, verdict);
    } catch (error) {
      if (error instanceof QueueFull) {
        return refused(429, "node-password/busy", error.message, { retryAfterSeconds: error.retryAfterSeconds });
      }
      if (!isApiAway(error)) {
        this.#log.error({ node: nodeName, err: error }, "node password cannot be checked");
        const why = `unable to verify hash for node '${nodeName}': ${errorMessage(error)}`;
        return refused(500, "node-password/unverified", why, {
          hint: "the Kubernetes API refused to read or store the node's Secret; its reason is above",
        });
      }
      this.#log.warn(
        { node: nodeName, reason: errorMessage(error) },
        "node password cannot be checked now: accepted, and checked when the API answers",
      );
      this.#defer({ nodeName, password });
      return accepted({ nodeName });
    }
  }

  /** While the API has never answered: only the own node can be checked, against its file. */
  async #beforeApi(nodeName: string, password: string): Promise<Answer<{ nodeName: string }> | undefined> {
    if (this.#api.ready) return undefined;
    const own = this.#options.ownNode;
    if (own !== undefined && own.name === nodeName) return verifyLocally(nodeName, password, own.passwordFile);
    return refused(503, "registration/not-ready", "runtime core not ready", {
      hint: "the server has just started; the agent tries again by itself",
    });
  }

  async #nodeExists(nodeName: string): Promise<boolean> {
    try {
      return (await this.#api.getNode(nodeName)) !== undefined;
    } catch (error) {
      // The certificate is valid and its node was known: an API that is away must not lock the node out.
      this.#log.warn({ node: nodeName, reason: errorMessage(error) }, "cannot ask whether the node exists");
      return true;
    }
  }
}

async function verifyLocally(nodeName: string, password: string, file: string): Promise<Answer<{ nodeName: string }>> {
  let stored: string | undefined;
  try {
    stored = (await readFileIfExists(file))?.trim();
  } catch (error) {
    return refused(500, "node-password/file", `cannot read the local node password: ${errorMessage(error)}`);
  }
  if (stored === undefined) return refused(500, "node-password/file", `there is no node password in ${file}`);
  return secretsEqual(stored, password) ? accepted({ nodeName }) : refuse(nodeName, "mismatch");
}

function refuse(nodeName: string, verdict: "mismatch" | "damaged"): Answer<never> {
  if (verdict === "damaged") {
    return refused(
      403,
      "node-password/damaged",
      `unable to verify hash for node '${nodeName}': the stored hash is damaged`,
      {
        hint: `release the name with "keelson node release ${nodeName}", so that the node registers again`,
      },
    );
  }
  return refused(403, "node-password/mismatch", `unable to verify hash for node '${nodeName}': hash does not match`, {
    hint:
      `the name belongs to another host (Secret ${nodePasswordNamespace}/${nodePasswordSecretName(nodeName)}); ` +
      `choose another --node-name or --with-node-id, or release it with "keelson node release ${nodeName}"`,
  });
}
