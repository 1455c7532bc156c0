import {
  isProvisionalHash,
  nodeOfPasswordSecret,
  nodePasswordHashOf,
  nodePasswordSecretName,
  type SecretObject,
} from "@keelson/secret-format";
import { type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import type { ClusterApi, NodeObject } from "../cluster/cluster-api.ts";
import { sweepBootstrapTokens } from "../tokens/bootstrap-tokens.ts";

const sweepPeriodMs = 60_000;
/** A Secret without a Node is left alone this long: its kubelet may just be starting. A hash may be provisional as long. */
const settledAgeMs = 600_000;

/**
 * Ties node-password Secrets to their Nodes: the Secret gets its Node as owner, goes when the Node is deleted (which frees
 * the name), and an old one without a Node is swept. Bootstrap tokens are swept when their time is over.
 */
export class Housekeeping {
  readonly #api: ClusterApi;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #known = new Set<string>();
  /** Names with provisional hashes at the last sweep. */
  #provisional = "";
  #timer: Timer | undefined;
  #unsubscribe: (() => void) | undefined;

  constructor(api: ClusterApi, clock: Clock, log: Logger) {
    this.#api = api;
    this.#clock = clock;
    this.#log = log;
  }

  start(): void {
    this.#unsubscribe = this.#api.onNodeChange(({ name, node }) => {
      if (node === undefined) {
        this.#known.delete(name);
        void this.#guard("release the name of a deleted node", () => this.#release(name));
      } else if (!this.#known.has(name)) {
        this.#known.add(name);
        void this.#guard("make the node the owner of its Secret", () => this.#own(node));
      }
    });
    this.#timer = this.#clock.setInterval(() => {
      void this.#guard("sweep orphaned node passwords", () => this.sweep());
      void this.#guard("sweep expired bootstrap tokens", () => this.#sweepTokens());
    }, sweepPeriodMs);
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#timer?.cancel();
  }

  /** Deletes Secrets that are older than ten minutes and have no Node; gives every other one its owner. */
  async sweep(): Promise<string[]> {
    if (!this.#api.ready) return [];
    const nodes = new Map((await this.#api.listNodes()).map((node) => [node.metadata.name, node]));
    const swept: string[] = [];
    const secrets = await this.#api.listSecrets();
    this.#reportProvisional(secrets);
    for (const secret of secrets) {
      const nodeName = nodeOfPasswordSecret(secret.metadata.name);
      if (nodeName === undefined) continue;
      const node = nodes.get(nodeName);
      if (node !== undefined) {
        if (ownerOf(secret) !== node.metadata.uid) await this.#api.setSecretOwner(secret.metadata.name, node.metadata);
        continue;
      }
      if (!this.#isOld(secret)) continue;
      if (!(await this.#api.deleteSecret(secret.metadata.name, secret.metadata.uid))) continue;
      this.#log.info({ node: nodeName }, "removed the node password of a node that never appeared");
      swept.push(nodeName);
    }
    return swept;
  }

  #isOld({ metadata }: SecretObject): boolean {
    return this.#clock.now() - Date.parse(metadata.creationTimestamp ?? "") > settledAgeMs;
  }

  /** Only a node's own password makes a full hash, so what an earlier run left waits for the node's next request. */
  #reportProvisional(secrets: readonly SecretObject[]): void {
    const nodes = secrets
      .filter((secret) => isProvisional(secret) && this.#isOld(secret))
      .flatMap(({ metadata }) => nodeOfPasswordSecret(metadata.name) ?? []);
    const text = nodes.sort().join();
    if (text === this.#provisional) return;
    this.#provisional = text;
    this.#log.info(
      { count: nodes.length, nodes: nodes.slice(0, 20) },
      "nodes whose password hash stayed provisional; each gets its full one when it next asks for a certificate",
    );
  }

  async #sweepTokens(): Promise<void> {
    if (!this.#api.ready) return;
    const swept = await sweepBootstrapTokens(this.#api, this.#clock.now());
    if (swept.length > 0) this.#log.info({ tokens: swept }, "removed expired bootstrap tokens");
  }

  async #own(node: NodeObject): Promise<void> {
    const secret = await this.#api.getSecret(nodePasswordSecretName(node.metadata.name));
    if (secret === undefined || ownerOf(secret) === node.metadata.uid) return;
    await this.#api.setSecretOwner(secret.metadata.name, node.metadata);
  }

  async #release(nodeName: string): Promise<void> {
    const secret = await this.#api.getSecret(nodePasswordSecretName(nodeName));
    if (secret === undefined || !(await this.#api.deleteSecret(secret.metadata.name, secret.metadata.uid))) return;
    this.#log.info({ node: nodeName }, "node deleted, its name is free again");
  }

  /** The sweep comes round again, so a failure only needs a word. */
  async #guard(what: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#log.warn({ reason: errorMessage(error) }, `could not ${what}; trying again at the next sweep`);
    }
  }
}

function isProvisional(secret: SecretObject): boolean {
  const hash = secret.immutable ? undefined : nodePasswordHashOf(secret);
  return hash !== undefined && isProvisionalHash(hash);
}

function ownerOf(secret: SecretObject): string | undefined {
  return secret.metadata.ownerReferences?.find((owner) => owner.kind === "Node")?.uid;
}
