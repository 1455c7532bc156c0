import type { EtcdClient } from "@keelson/etcd-client";
import { listAt } from "../kinds/kind.ts";
import { decodeEnvelope, isEnveloped } from "../protobuf/envelope.ts";
import { prefixEnd } from "../storage/object-store.ts";

/** Where agents reach a server. */
export interface Advertised {
  address: string;
  port: number;
}

/** Live servers, one key each with a lease. Source: kube-apiserver's master lease reconciler. */
const leasePrefix = "/registry/masterleases/";
const leaseSeconds = 15;

/** The servers that are alive, by what each of them renews in the datastore. */
export class LiveServers {
  readonly #etcd: EtcdClient;
  readonly #own: Advertised;
  #leaseId = 0n;

  constructor(etcd: EtcdClient, own: Advertised) {
    this.#etcd = etcd;
    this.#own = own;
  }

  /** Says that this server lives, for the next 15 seconds. */
  async renew(): Promise<void> {
    if (this.#leaseId !== 0n) {
      const { ttl } = await this.#etcd.leaseKeepAlive(this.#leaseId);
      if (ttl > 0) return;
    }
    this.#leaseId = (await this.#etcd.leaseGrant(leaseSeconds)).id;
    const { address, port } = this.#own;
    const record = {
      kind: "Endpoints",
      apiVersion: "v1",
      metadata: { creationTimestamp: null },
      subsets: [{ addresses: [{ ip: address }], ports: [{ port }] }],
    };
    await this.#etcd.put({
      key: Buffer.from(leasePrefix + address),
      value: Buffer.from(JSON.stringify(record)),
      lease: this.#leaseId,
    });
  }

  /** Says that this server goes, instead of letting its lease end. False when it never came. */
  async leave(): Promise<boolean> {
    if (this.#leaseId === 0n) return false;
    await this.#etcd.leaseRevoke(this.#leaseId, { timeoutMs: 2_000 });
    return true;
  }

  async list(): Promise<Advertised[]> {
    const { kvs } = await this.#etcd.range({ key: Buffer.from(leasePrefix), rangeEnd: prefixEnd(leasePrefix) });
    return kvs.map(({ key, value }) => ({
      address: key.toString().slice(leasePrefix.length),
      // Servers of another kind run at the same port as this one.
      port: portIn(value) ?? this.#own.port,
    }));
  }
}

/** The port in a record, undefined when it names none (kube-apiserver's do not) or cannot be read. */
function portIn(value: Buffer): number | undefined {
  try {
    const record = isEnveloped(value) ? decodeEnvelope(value) : (JSON.parse(value.toString()) as unknown);
    const port = listAt(listAt(record, "subsets")[0], "ports")[0]?.port;
    return typeof port === "number" && port > 0 ? port : undefined;
  } catch {
    return undefined; // the key alone says that the server lives
  }
}
