import { readFileSync } from "node:fs";
import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { alarmActions, alarmTypes, services } from "@keelson/protocol/etcd";
import type { ConnectEtcd, EtcdClusterApi, EtcdStatus } from "./cluster-api.ts";
import type { EtcdLayout } from "./layout.ts";
import type { EtcdMember } from "./membership.ts";

const defragmentTimeoutMs = 120_000;

type Certificates = EtcdLayout["certificates"];

/**
 * Opens connections with the cluster's etcd client certificate, whose files are read when the first call is made. These
 * are the calls of membership, maintenance and snapshots, some of which are made on one certain server.
 */
export function connectEtcd(certificates: Certificates): ConnectEtcd {
  return (endpoints) => new EtcdConnection(endpoints, certificates);
}

class EtcdConnection implements EtcdClusterApi {
  readonly #endpoints: readonly string[];
  readonly #certificates: Certificates;
  #opened: EtcdClient | undefined;

  constructor(endpoints: readonly string[], certificates: Certificates) {
    this.#endpoints = endpoints;
    this.#certificates = certificates;
  }

  async memberList(): Promise<EtcdMember[]> {
    return (await this.#client.memberList()).members;
  }

  async memberAddAsLearner(peerUrls: readonly string[]): Promise<EtcdMember[]> {
    const request = { peerUrls: [...peerUrls], isLearner: true };
    return (await this.#client.call(services.cluster.memberAdd, request)).members;
  }

  async memberPromote(id: bigint): Promise<void> {
    await this.#client.call(services.cluster.memberPromote, { id });
  }

  async memberRemove(id: bigint): Promise<void> {
    await this.#client.call(services.cluster.memberRemove, { id });
  }

  async memberUpdate(id: bigint, peerUrls: readonly string[]): Promise<void> {
    await this.#client.call(services.cluster.memberUpdate, { id, peerUrls: [...peerUrls] });
  }

  async status(): Promise<EtcdStatus> {
    const answer = await this.#client.status();
    return {
      memberId: answer.header?.memberId ?? 0n,
      leaderId: answer.leader,
      raftAppliedIndex: answer.raftAppliedIndex,
      isLearner: answer.isLearner,
      dbSizeBytes: answer.dbSize,
      version: answer.version,
    };
  }

  async defragment(): Promise<void> {
    await this.#client.call(services.maintenance.defragment, {}, { timeoutMs: defragmentTimeoutMs });
  }

  async disarmAlarms(): Promise<void> {
    const { alarm } = services.maintenance;
    const listing = { action: alarmActions.get, alarm: alarmTypes.none, memberId: 0n };
    for (const { memberId, alarm: kind } of (await this.#client.call(alarm, listing)).alarms) {
      await this.#client.call(alarm, { action: alarmActions.deactivate, alarm: kind, memberId });
    }
  }

  async *snapshot(): AsyncIterable<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let ended: { error: Error | undefined } | undefined;
    let wake = (): void => {};
    const stream = await this.#client.stream(services.maintenance.snapshot, {
      onMessage: ({ blob }) => {
        chunks.push(blob);
        wake();
      },
      onEnd: (error) => {
        ended = { error };
        wake();
      },
    });
    stream.send({});
    stream.halfClose();
    try {
      for (;;) {
        const chunk = chunks.shift();
        if (chunk !== undefined) yield chunk;
        else if (ended === undefined) await new Promise<void>((resolve) => (wake = resolve));
        else if (ended.error !== undefined) throw ended.error;
        else return;
      }
    } finally {
      stream.cancel();
    }
  }

  async get(key: string): Promise<string | undefined> {
    const { kvs } = await this.#client.range({ key: Buffer.from(key) });
    return kvs[0]?.value.toString();
  }

  async put(key: string, value: string): Promise<void> {
    await this.#client.put({ key: Buffer.from(key), value: Buffer.from(value) });
  }

  async delete(key: string): Promise<void> {
    await this.#client.deleteRange({ key: Buffer.from(key) });
  }

  close(): void {
    this.#opened?.close();
    this.#opened = undefined;
  }

  get #client(): EtcdClient {
    const { serverCa, clientCert, clientKey } = this.#certificates;
    this.#opened ??= createEtcdClient({
      endpoints: this.#endpoints,
      tls: {
        ca: readFileSync(serverCa, "utf8"),
        cert: readFileSync(clientCert, "utf8"),
        key: readFileSync(clientKey, "utf8"),
      },
    });
    return this.#opened;
  }
}
