import type { KeyObject } from "node:crypto";
import {
  admitListenerNames,
  DerError,
  normalizeName,
  planRenewal,
  readCertificate,
  readCertificateRequest,
} from "@keelson/pki";
import {
  type Answer,
  accepted,
  type ListenerCertificate,
  type ListenerRequest,
  refused,
} from "@keelson/protocol/supervisor";
import type { Clock } from "@keelson/service";
import type { ClusterApi } from "../cluster/cluster-api.ts";
import type { ServerPki } from "./server-pki.ts";

export interface ListenerOptions {
  /** Names that every listener certificate carries. */
  configuredNames: readonly string[];
  /** `--tls-san-security`. */
  guardNames: boolean;
}

const serverLabels = [
  "node-role.kubernetes.io/control-plane",
  "node-role.kubernetes.io/master",
  "node-role.kubernetes.io/etcd",
];
const serverAddressTypes = new Set(["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"]);

/** Signs the certificate that clients of the one public port see, with the names that it needs. */
export class ListenerCertificates {
  readonly #pki: ServerPki;
  readonly #api: ClusterApi;
  readonly #options: ListenerOptions;
  readonly #clock: Clock;

  constructor(pki: ServerPki, api: ClusterApi, options: ListenerOptions, clock: Clock) {
    this.#pki = pki;
    this.#api = api;
    this.#options = options;
    this.#clock = clock;
  }

  async sign(request: ListenerRequest): Promise<Answer<ListenerCertificate>> {
    let publicKey: KeyObject;
    try {
      publicKey = readCertificateRequest(request.csrDer);
    } catch (error) {
      if (!(error instanceof DerError)) throw error;
      return refused(400, "csr/invalid", `invalid certificate request: ${error.message}`);
    }
    const names = admitListenerNames(this.#options.configuredNames, request.names, {
      enabled: this.#options.guardNames,
      serverNames: await this.#serverNames(),
    });
    const nowMs = this.#clock.now();
    const chainPem = this.#pki
      .authority("server")
      .issue(
        { commonName: "k3s", organizations: ["k3s"], purposes: ["server"], names },
        publicKey,
        nowMs,
        this.#pki.leafLifetimeMs,
      );
    return accepted({ chainPem, names, renewAtMs: planRenewal(readCertificate(chainPem), nowMs).renewAtMs });
  }

  async #serverNames(): Promise<ReadonlySet<string> | undefined> {
    if (!this.#api.ready) return undefined;
    const servers = (await this.#api.listNodes()).filter((node) =>
      serverLabels.some((label) => node.metadata.labels?.[label] !== undefined),
    );
    // A server may run without an agent, and so without a Node: its address stands behind default/kubernetes.
    const published = (await this.#api.apiServers()).map((address) => address.replace(/:\d+$/, ""));
    const addresses = servers.flatMap((node) =>
      (node.status?.addresses ?? []).filter(({ type }) => serverAddressTypes.has(type)).map(({ address }) => address),
    );
    return new Set([...published, ...addresses].map(normalizeName));
  }
}
