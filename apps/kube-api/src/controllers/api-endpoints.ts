import { isIPv6 } from "node:net";
import { errorMessage, type Logger, type Service, type Timer } from "@keelson/service";
import { type ApiObject, listAt } from "../kinds/kind.ts";
import { section } from "../kinds/rules.ts";
import { decodeEnvelope, isEnveloped } from "../protobuf/envelope.ts";
import { prefixEnd } from "../storage/object-store.ts";
import { prepareUpdate } from "../verbs/prepare.ts";
import { bare, createIfMissing, type StoreContext } from "./essentials.ts";

export interface Advertised {
  address: string;
  port: number;
}

/** Live servers, one key each with a lease. Source: kube-apiserver's master lease reconciler. */
const leasePrefix = "/registry/masterleases/";
const leaseSeconds = 15;
/** Renewed often, so that a server that dies is out of the endpoints within about 10 s, and a new one in at once. */
const reconcileIntervalMs = 3_000;

/** Keeps Service `default/kubernetes`, its Endpoints and its EndpointSlice at the servers that are alive. */
export class ApiEndpoints implements Service {
  readonly #context: StoreContext;
  readonly #advertised: Advertised;
  readonly #serviceIp: string;
  readonly #log: Logger;
  #timer: Timer | undefined;
  #leaseId = 0n;
  #running: Promise<void> | undefined;
  #hasFailed = false;

  constructor(context: StoreContext, advertised: Advertised, serviceIp: string, log: Logger) {
    this.#context = context;
    this.#advertised = advertised;
    this.#serviceIp = serviceIp;
    this.#log = log;
  }

  async start(): Promise<void> {
    await this.#tick();
    this.#timer = this.#context.clock.setInterval(() => void this.#tick(), reconcileIntervalMs);
  }

  /** A server that stops in order leaves the endpoints at once, instead of when its lease ends. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#running;
    if (this.#leaseId === 0n) return;
    try {
      await this.#context.store.etcd.leaseRevoke(this.#leaseId, { timeoutMs: 2_000 });
      await this.#publish();
    } catch (error) {
      this.#log.debug(
        { error: errorMessage(error) },
        "could not leave the API endpoints; the lease will end by itself",
      );
    }
  }

  async #tick(): Promise<void> {
    if (this.#running !== undefined) return;
    this.#running = this.#reconcile()
      .then(() => {
        if (this.#hasFailed) this.#log.info("API endpoints are up to date again");
        this.#hasFailed = false;
      })
      .catch((error: unknown) => {
        if (!this.#hasFailed) this.#log.warn({ error: errorMessage(error) }, "API endpoints could not be updated");
        this.#hasFailed = true;
      })
      .finally(() => {
        this.#running = undefined;
      });
    await this.#running;
  }

  async #reconcile(): Promise<void> {
    await this.#renewLease();
    await this.#publish();
  }

  async #renewLease(): Promise<void> {
    const { etcd } = this.#context.store;
    if (this.#leaseId !== 0n) {
      const { ttl } = await etcd.leaseKeepAlive(this.#leaseId);
      if (ttl > 0) return;
    }
    this.#leaseId = (await etcd.leaseGrant(leaseSeconds)).id;
    const { address, port } = this.#advertised;
    const record = {
      kind: "Endpoints",
      apiVersion: "v1",
      metadata: { creationTimestamp: null },
      subsets: [{ addresses: [{ ip: address }], ports: [{ port }] }],
    };
    await etcd.put({
      key: Buffer.from(leasePrefix + address),
      value: Buffer.from(JSON.stringify(record)),
      lease: this.#leaseId,
    });
  }

  async #publish(): Promise<void> {
    const servers = await this.#liveServers();
    await this.#ensureService();
    const byPort = new Map<number, string[]>();
    for (const { address, port } of servers) byPort.set(port, [...(byPort.get(port) ?? []), address]);
    const subsets = [...byPort].map(([port, addresses]) => ({
      addresses: addresses.sort().map((ip) => ({ ip })),
      ports: [{ name: "https", port, protocol: "TCP" }],
    }));
    await this.#write("endpoints", "", (object) => ({ ...object, subsets }), bare("v1", "Endpoints", "kubernetes"));
    const slice = bare("discovery.k8s.io/v1", "EndpointSlice", "kubernetes");
    slice.metadata.labels = { "kubernetes.io/service-name": "kubernetes" };
    const ports = [...byPort.keys()];
    await this.#write(
      "endpointslices",
      "discovery.k8s.io",
      (object) => ({
        ...object,
        addressType: isIPv6(this.#advertised.address) ? "IPv6" : "IPv4",
        endpoints: servers.map(({ address }) => ({ addresses: [address], conditions: { ready: true } })),
        ports: ports.slice(0, 1).map((port) => ({ name: "https", port, protocol: "TCP" })),
      }),
      slice,
    );
  }

  async #liveServers(): Promise<Advertised[]> {
    const { kvs } = await this.#context.store.etcd.range({
      key: Buffer.from(leasePrefix),
      rangeEnd: prefixEnd(leasePrefix),
    });
    return kvs.map(({ key, value }) => ({
      address: key.toString().slice(leasePrefix.length),
      // Servers of another kind run at the same port as this one.
      port: portIn(value) ?? this.#advertised.port,
    }));
  }

  async #ensureService(): Promise<void> {
    const service = bare("v1", "Service", "kubernetes");
    service.metadata = {
      name: "kubernetes",
      namespace: "default",
      labels: { component: "apiserver", provider: "kubernetes" },
    };
    const spec = section(service, "spec");
    spec.clusterIP = this.#serviceIp;
    spec.clusterIPs = [this.#serviceIp];
    spec.ports = [{ name: "https", port: 443, protocol: "TCP", targetPort: this.#advertised.port }];
    spec.ipFamilies = ["IPv4"];
    spec.ipFamilyPolicy = "SingleStack";
    await createIfMissing(this.#context, "services", "default", service);
  }

  async #write(plural: string, group: string, fill: (object: ApiObject) => ApiObject, blank: ApiObject): Promise<void> {
    const kind = this.#context.catalog.require(plural, group);
    const id = { kind, namespace: "default", name: "kubernetes" };
    const named = { ...blank, metadata: { ...blank.metadata, namespace: "default" } };
    await createIfMissing(this.#context, plural, "default", fill(named), group);
    await this.#context.store.update(id, (current) => prepareUpdate(kind, current, fill(current), "spec"));
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
