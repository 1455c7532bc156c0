import { readFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import type { KubeClient } from "@keelson/kube-client";
import {
  type Dependencies,
  KeelsonError,
  Lifecycle,
  type OptionValues,
  type Service,
  withDefaults,
} from "@keelson/service";
import { clearResetFlag } from "./cluster-reset.ts";
import type { EtcdOrigin } from "./config.ts";
import { parseDbInfo } from "./db-info.ts";
import { createEmbeddedEtcd, type EmbeddedEtcd } from "./embedded-etcd.ts";
import { etcdLayout } from "./layout.ts";
import { hasMemberData } from "./member-files.ts";
import type { EtcdMember } from "./membership.ts";
import { NodeMembers } from "./node-members.ts";
import { embeddedEtcdConfig, type etcdOptions, objectStore, snapshotConfig } from "./options.ts";
import { publishInventory } from "./snapshots/inventory.ts";
import { SnapshotService } from "./snapshots/snapshot-service.ts";

export interface ServerEtcdConfig {
  values: OptionValues<typeof etcdOptions>;
  dataDir: string;
  nodeName: string;
  /** Address at which the other servers reach this one. */
  address: string;
  /** `--server` and the password part of the server token, when this server joins others. */
  join?: { url: string; password: string };
}

const requestTimeoutMs = 10_000;
const maxAnswerBytes = 1024 * 1024;

/** Which datastore a server has: embedded etcd when it has etcd data, is told to start a cluster, or joins one. */
export async function usesEmbeddedEtcd(server: {
  dataDir: string;
  datastoreEndpoint: string | undefined;
  clusterInit: boolean;
  joins: boolean;
}): Promise<boolean> {
  if (await hasMemberData(etcdLayout(server.dataDir))) return true;
  const endpoint = server.datastoreEndpoint ?? "";
  if (endpoint.startsWith("etcd:")) return true;
  return endpoint === "" && (server.clusterInit || server.joins);
}

/**
 * Embedded etcd as a part of a server: the member, its scheduled snapshots and, once there is an API to talk to, the tie
 * between members and Nodes. The certificates in `server/tls/etcd` must be there before the start.
 */
export class ServerEtcd implements Service {
  readonly etcd: EmbeddedEtcd;
  readonly snapshots: SnapshotService;
  readonly #config: ServerEtcdConfig;
  readonly #deps: Dependencies;
  readonly #lifecycle: Lifecycle;
  #kube: KubeClient | undefined;

  constructor(config: ServerEtcdConfig, deps: Partial<Dependencies> & { onRemoved?: () => void } = {}) {
    this.#config = config;
    this.#deps = withDefaults(deps);
    this.#lifecycle = new Lifecycle(this.#deps.log);
    const { values, dataDir, nodeName, address } = config;
    const server = { dataDir, nodeName, address, origin: this.#origin() };
    this.etcd = createEmbeddedEtcd(embeddedEtcdConfig(values, server), deps);
    const schedule = values["etcd-disable-snapshots"] ? "" : values["etcd-snapshot-schedule-cron"];
    const store = objectStore(values, nodeName);
    this.snapshots = new SnapshotService(snapshotConfig(values, { dataDir, nodeName, schedule }), {
      ...this.#deps,
      cluster: this.etcd.cluster,
      onChange: async (snapshots) => {
        if (this.#kube === undefined) return;
        await publishInventory(this.#kube, { nodeName, snapshots, hasStore: store !== undefined });
      },
      ...(store === undefined ? {} : { objectStore: store }),
    });
  }

  /** Endpoint and files that the datastore adapter is given. */
  get datastore(): { endpoint: string; caFile: string; certFile: string; keyFile: string } {
    const { serverCa, clientCert, clientKey } = etcdLayout(this.#config.dataDir).certificates;
    return { endpoint: this.etcd.clientUrl, caFile: serverCa, certFile: clientCert, keyFile: clientKey };
  }

  async start(): Promise<void> {
    await this.snapshots.prepare();
    await clearResetFlag(this.#config.dataDir);
    await this.#lifecycle.run("etcd", this.etcd);
    await this.#lifecycle.run("etcd snapshots", this.snapshots);
  }

  /** Once the Kubernetes API answers: marks this server's Node, removes members of deleted ones, publishes snapshots. */
  async attach(kube: KubeClient): Promise<void> {
    this.#kube = kube;
    const { nodeName, address, values } = this.#config;
    const members = new NodeMembers(
      { nodeName, address: values["etcd-address"] ?? address },
      this.etcd,
      kube,
      this.#deps,
    );
    await this.#lifecycle.run("etcd members of nodes", members);
    // What was saved while the API was away, or what a restored inventory does not know.
    void this.snapshots.announce();
  }

  stop(): Promise<void> {
    return this.#lifecycle.stop();
  }

  #origin(): EtcdOrigin {
    const { join: target, dataDir } = this.#config;
    if (target === undefined) return { kind: "init" };
    return { kind: "join", members: () => fetchMembers(target, join(dataDir, "server", "tls", "server-ca.crt")) };
  }
}

/** `GET /db/info` of another server, as user `server`. */
function fetchMembers(target: { url: string; password: string }, caFile: string): Promise<EtcdMember[]> {
  return readFile(caFile).then(
    (ca) =>
      new Promise((resolve, reject) => {
        const req = request(
          new URL("/db/info", target.url),
          {
            ca,
            auth: `server:${target.password}`,
            signal: AbortSignal.timeout(requestTimeoutMs),
          },
          (res) => {
            let text = "";
            res.setEncoding("utf8");
            res.on("data", (chunk: string) => {
              text += chunk;
              if (text.length > maxAnswerBytes) req.destroy(new Error("the answer is too large"));
            });
            res.on("error", reject);
            res.on("end", () => {
              try {
                if (res.statusCode !== 200) throw refusal(target.url, res.statusCode ?? 0, text);
                resolve(parseDbInfo(text));
              } catch (error) {
                reject(error);
              }
            });
          },
        );
        req.on("error", reject);
        req.end();
      }),
  );
}

function refusal(url: string, status: number, text: string): KeelsonError {
  if (status === 400) {
    // It says so for good: waiting would not help.
    return new KeelsonError("etcd/join-refused", `${url} keeps no embedded etcd that this server could join`, {
      hint: "a server on another datastore is joined through it: give the same --datastore-endpoint, and no --server",
      status,
    });
  }
  return new KeelsonError(
    "etcd/db-info",
    `${url} answered ${status} to the request for its etcd members: ${text.slice(0, 200)}`,
    {
      hint: "check the token, and that --server names a server with embedded etcd",
      status,
    },
  );
}
