import type { EtcdClient } from "@keelson/etcd-client";
import { compareResults, compareTargets } from "@keelson/protocol/etcd";
import type { Clock, Logger, Service, Timer } from "@keelson/service";
import { attempt } from "./essentials.ts";

/** Source: kube-apiserver --etcd-compaction-interval. */
const intervalMs = 300_000;
const key = Buffer.from("compact_rev_key");

/**
 * Compacts the datastore to where it stood one interval ago, by kube-apiserver's own protocol: whoever wins the write of
 * `compact_rev_key` compacts, so that any number of API servers does it once. Source: apiserver etcd3/compact.go.
 */
export class Compactor implements Service {
  readonly #etcd: EtcdClient;
  readonly #clock: Clock;
  readonly #log: Logger;
  #timer: Timer | undefined;
  #version = 0;
  #revision = 0;

  constructor(etcd: EtcdClient, clock: Clock, log: Logger) {
    this.#etcd = etcd;
    this.#clock = clock;
    this.#log = log;
  }

  async start(): Promise<void> {
    this.#timer = this.#clock.setInterval(
      () => void attempt(this.#log, "compactor", () => this.#compact()),
      intervalMs,
    );
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
  }

  async #compact(): Promise<void> {
    const response = await this.#etcd.txn({
      compare: [{ key, target: compareTargets.version, result: compareResults.equal, version: this.#version }],
      success: [{ requestPut: { key, value: Buffer.from(String(this.#revision)) } }],
      failure: [{ requestRange: { key } }],
    });
    const target = this.#revision;
    this.#revision = response.header?.revision ?? 0;
    if (!response.succeeded) {
      this.#version = response.responses[0]?.responseRange?.kvs[0]?.version ?? 0;
      return;
    }
    this.#version++;
    if (target > 0) await this.#etcd.compact({ revision: target }, { timeoutMs: 60_000 });
  }
}
