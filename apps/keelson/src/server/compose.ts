import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createGateway, type Gateway, type GatewayConfig } from "@keelson/gateway";
import { createKubeClient, type KubeClient } from "@keelson/kube-client";
import { createRegistration, type Registration } from "@keelson/registration";
import {
  type Dependencies,
  folderOwnership,
  KeelsonError,
  Lifecycle,
  type Service,
  writeFileAtomic,
} from "@keelson/service";
import type { ServerEtcd } from "../etcd/index.ts";
import { ServerMonitor } from "../status/server-monitor.ts";
import type { ReportStep } from "../steps.ts";
import { clusterSettings } from "./cluster-settings.ts";
import type { ServerConfig } from "./config.ts";
import { createDatastorePart, type DatastorePart } from "./datastore-part.ts";
import { snapshotRequest } from "./db-snapshot.ts";
import { createKubeApiPart, type KubeApiPart } from "./kube-api-part.ts";
import { RoleLabels } from "./role-labels.ts";

/**
 * All parts of a server in one process, wired as they would be over a network: the datastore and the Kubernetes API on
 * Unix sockets that only we can open, registration by function call, the gateway as the one public port.
 */
export class Server implements Service {
  readonly #config: ServerConfig;
  readonly #deps: Dependencies;
  readonly #report: ReportStep;
  readonly #lifecycle: Lifecycle;
  readonly #kubeApi: KubeApiPart;
  readonly #monitor: ServerMonitor;
  #gateway: Gateway | undefined;

  constructor(config: ServerConfig, deps: Dependencies, report: ReportStep) {
    this.#config = config;
    this.#deps = deps;
    this.#lifecycle = new Lifecycle(deps.log);
    this.#monitor = new ServerMonitor(config, this.#part("status"));
    this.#report = (step, detail) => {
      this.#monitor.reached(step, detail);
      report(step, detail);
    };
    const gatewayUrl = `https://${loopbackOf(config.bindAddress)}:${config.httpsPort}`;
    this.#kubeApi = createKubeApiPart(config, gatewayUrl, this.#part("kube-api"));
  }

  async start(): Promise<void> {
    const { dataDir } = this.#config;
    await makeDirectory(join(dataDir, "server", "db"));
    await this.#lifecycle.run("data folder", folderOwnership(join(dataDir, "server")));
    await this.#lifecycle.run("status", this.#monitor);
    const part = await createDatastorePart(this.#config, this.#part("datastore"), () => this.#leave());
    if (part.embedded !== undefined) await this.#monitor.watchEtcd(part.embedded.etcd);
    const registration = this.#createRegistration(part);
    // It may wait long for other servers, or for the datastore; a stop ends that.
    this.#lifecycle.onStop("registration's first steps", () => registration.stop());
    if (part.sharesIdentity) {
      await part.startFirst(this.#lifecycle);
      await this.#prepare(registration);
    } else {
      await allDone(part.startFirst(this.#lifecycle), this.#prepare(registration));
    }
    this.#report("datastore", await part.startRest(this.#lifecycle, registration));
    await this.#kubeApi.start(this.#lifecycle, registration, part);
    this.#report("api", this.#kubeApi.description);
    await this.#lifecycle.run("registration", registration);
    this.#report("registration", "tokens and node names");
    const gateway = await this.#startGateway(registration, part);
    this.#gateway = gateway;
    await this.#writeKubeconfig(registration);
    registration.onCertificatesRenewed((files) => {
      if (files.includes("client-admin")) void this.#rewriteKubeconfig(registration);
    });
    const kube = await this.#kubeClient(registration);
    if (part.embedded !== undefined) await part.embedded.attach(kube);
    await this.#monitor.watch({ datastore: part.client, kube, gateway, paths: registration.paths });
    await this.#startAgent(registration, gateway, kube, part.embedded === undefined ? [] : ["etcd"]);
    this.#report("ready", `https://${gateway.address.host}:${gateway.address.port}`);
  }

  stop(): Promise<void> {
    return this.#lifecycle.stop();
  }

  /** Without a datastore for good: a closed port sends everyone who still comes here to another server. */
  #leave(): void {
    this.#gateway?.stop().catch((error: unknown) => this.#deps.log.error({ err: error }, "the gateway did not stop"));
  }

  #part(name: string): Dependencies {
    return { ...this.#deps, log: this.#deps.log.child({ component: name }) };
  }

  /** A client of our own API, ended with the server. */
  async #kubeClient(registration: Registration): Promise<KubeClient> {
    const client = createKubeClient({ ...(await this.#kubeApi.client(registration)), userAgent: "keelson-server" });
    this.#lifecycle.onStop("API client", () => client.close());
    return client;
  }

  #createRegistration(part: DatastorePart): Registration {
    const {
      dataDir,
      node,
      tokens,
      agentToken,
      nodeName,
      nodeIps,
      advertise,
      httpsPort,
      tlsSans,
      tlsSanSecurity,
      values,
      joinUrl,
    } = this.#config;
    return createRegistration(
      {
        dataDir,
        ...(tokens.length === 0 ? {} : { token: tokens }),
        ...(agentToken === undefined ? {} : { agentToken }),
        nodeName,
        nodeIps,
        advertiseAddress: advertise.address,
        advertisePort: advertise.port,
        httpsPort,
        tlsSans,
        tlsSanSecurity,
        cluster: clusterSettings(values),
        ...(node === undefined ? {} : { nodePasswordFile: values["node-password-file"] }),
        sharedDatastore: part.sharesIdentity,
        ...(joinUrl === undefined ? {} : { joinUrl }),
        kube: this.#kubeApi.address,
        ...("server" in this.#kubeApi.address ? { apiServerUrl: this.#kubeApi.address.server } : {}),
        etcd: part.client,
      },
      this.#part("registration"),
    );
  }

  async #prepare(registration: Registration): Promise<void> {
    await registration.prepare();
    this.#report("certificates", `cluster CAs and certificates in ${registration.paths.tls}`);
  }

  async #startGateway(registration: Registration, part: DatastorePart): Promise<Gateway> {
    const { bindAddress, httpsPort, dataDir, values } = this.#config;
    const gateway: Gateway = createGateway(
      {
        listen: { host: bindAddress, port: httpsPort },
        registration,
        kubeApi: await this.#kubeApi.gatewayTarget(registration),
        listenerDirectory: join(dataDir, "server", "tls"),
        staticDirectory: join(dataDir, "server", "static"),
        ...etcdRoutes(part.embedded),
        tunnel: {
          mode: values["egress-selector-mode"],
          kubeApi: await this.#kubeApi.client(registration),
          ownListeners: () => [gateway.address],
        },
      },
      this.#part("gateway"),
    );
    await this.#lifecycle.run("gateway", gateway);
    this.#report("gateway", `https://${gateway.address.host}:${gateway.address.port}`);
    return gateway;
  }

  /** The server as a node of its own cluster, unless --disable-agent. */
  async #startAgent(registration: Registration, gateway: Gateway, kube: KubeClient, roles: string[]): Promise<void> {
    const { node, values, dataDir, nodeName, nodeIps } = this.#config;
    if (node === undefined) return;
    const { createAgent } = await import("@keelson/agent");
    const { port } = gateway.address;
    const agent = createAgent(
      {
        servers: [`https://${loopbackOf(this.#config.bindAddress)}:${port}`],
        token: () => registration.agentToken,
        dataDir,
        nodeName,
        nodePasswordFile: values["node-password-file"],
        lbPort: values["lb-server-port"],
        nodeIps,
        ...node,
        report: this.#report,
      },
      this.#part("agent"),
    );
    await this.#lifecycle.run("agent", agent);
    const labels = new RoleLabels(kube, agent.nodeName, ["control-plane", ...roles], this.#part("agent"));
    await this.#lifecycle.run("role labels", labels);
  }

  /** After a renewal: the certificate in the file would end before long. */
  async #rewriteKubeconfig(registration: Registration): Promise<void> {
    try {
      await this.#writeKubeconfig(registration);
    } catch (error) {
      this.#deps.log.error({ err: error }, "the admin kubeconfig could not be renewed");
    }
  }

  async #writeKubeconfig(registration: Registration): Promise<void> {
    const { kubeconfig, bindAddress, httpsPort } = this.#config;
    const content = await registration.adminKubeconfig(`https://${loopbackOf(bindAddress)}:${httpsPort}`);
    await writeFileAtomic(kubeconfig.path, content, kubeconfig.mode);
    this.#deps.log.info({ kubeconfig: kubeconfig.path }, "admin kubeconfig written");
  }
}

/** What the gateway answers on `/db/…` where this server runs an etcd member. */
function etcdRoutes(embedded: ServerEtcd | undefined): Pick<GatewayConfig, "dbInfo" | "dbSnapshot"> {
  if (embedded === undefined) return {};
  const { etcd, snapshots } = embedded;
  return { dbInfo: () => etcd.dbInfo(), dbSnapshot: (requestJson) => snapshotRequest(snapshots, requestJson) };
}

/** Waits for all, then throws the first failure: a stop must not meet a part that is still starting. */
async function allDone(...work: Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === "rejected") throw result.reason;
}

/** The address on this host that reaches a listener bound to `bindAddress`. */
function loopbackOf(bindAddress: string): string {
  if (bindAddress === "0.0.0.0") return "127.0.0.1";
  if (bindAddress === "::") return "[::1]";
  return bindAddress.includes(":") ? `[${bindAddress}]` : bindAddress;
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new KeelsonError("server/data-dir", `cannot make the folder ${path}`, {
      cause,
      hint: "choose another folder with --data-dir",
    });
  }
}
