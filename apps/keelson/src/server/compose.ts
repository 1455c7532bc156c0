import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createDatastore, type Datastore } from "@keelson/datastore";
import { createGateway, type Gateway } from "@keelson/gateway";
import { createKubeApi } from "@keelson/kube-api";
import { createRegistration, type Registration } from "@keelson/registration";
import { type Dependencies, KeelsonError, Lifecycle, type Service, writeFileAtomic } from "@keelson/service";
import type { ReportStep } from "../steps.ts";
import { clusterSettings } from "./cluster-settings.ts";
import type { ServerConfig } from "./config.ts";

/**
 * All parts of a server in one process, wired as they would be over a network: the datastore and the Kubernetes API on
 * Unix sockets that only we can open, registration by function call, the gateway as the one public port.
 */
export class Server implements Service {
  readonly #config: ServerConfig;
  readonly #deps: Dependencies;
  readonly #report: ReportStep;
  readonly #lifecycle: Lifecycle;
  readonly #datastoreSocket: string;
  readonly #apiSocket: string;

  constructor(config: ServerConfig, deps: Dependencies, report: ReportStep) {
    this.#config = config;
    this.#deps = deps;
    this.#report = report;
    this.#lifecycle = new Lifecycle(deps.log);
    this.#datastoreSocket = join(config.dataDir, "server", "kine.sock");
    this.#apiSocket = join(config.dataDir, "server", "kube-api.sock");
  }

  async start(): Promise<void> {
    const { dataDir, sharesDatastore } = this.#config;
    await makeDirectory(join(dataDir, "server", "db"));
    const registration = this.#createRegistration();
    if (sharesDatastore) {
      // The cluster's identity lies in the datastore: without it there are no certificates.
      const datastore = await this.#startDatastore();
      await this.#prepare(registration);
      await this.#offerDatastore(datastore, registration);
    } else {
      const [datastore] = await Promise.all([this.#startDatastore(), this.#prepare(registration)]);
      await this.#offerDatastore(datastore, registration);
    }
    await this.#startKubeApi(registration);
    await this.#lifecycle.run("registration", registration);
    this.#report("registration", "tokens and node names");
    const gateway = await this.#startGateway(registration);
    await this.#writeKubeconfig(registration);
    this.#report("ready", `https://${gateway.address.host}:${gateway.address.port}`);
  }

  stop(): Promise<void> {
    return this.#lifecycle.stop();
  }

  #part(name: string): Dependencies {
    return { ...this.#deps, log: this.#deps.log.child({ component: name }) };
  }

  #createRegistration(): Registration {
    const {
      dataDir,
      tokens,
      agentToken,
      nodeName,
      nodeIps,
      advertise,
      httpsPort,
      tlsSans,
      tlsSanSecurity,
      values,
      sharesDatastore,
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
        ...(values["disable-agent"] ? {} : { nodePasswordFile: values["node-password-file"] }),
        sharedDatastore: sharesDatastore,
        kube: { socketPath: this.#apiSocket },
        etcd: { endpoints: [`unix://${this.#datastoreSocket}`] },
      },
      this.#part("registration"),
    );
  }

  async #prepare(registration: Registration): Promise<void> {
    await registration.prepare();
    this.#report("certificates", `cluster CAs and certificates in ${registration.paths.tls}`);
  }

  async #startDatastore(): Promise<Datastore> {
    const { datastoreEndpoint, nodeName, datastoreListen } = this.#config;
    const advertised = datastoreListen === undefined ? {} : { advertiseClientUrls: [`https://${datastoreListen}`] };
    const datastore = createDatastore(
      {
        endpoint: datastoreEndpoint,
        listen: [{ url: `unix://${this.#datastoreSocket}` }],
        name: nodeName,
        ...advertised,
      },
      this.#part("datastore"),
    );
    return this.#lifecycle.run("datastore", datastore);
  }

  /** Opens the etcd API for tools, with the cluster's etcd certificates. */
  async #offerDatastore(datastore: Datastore, registration: Registration): Promise<void> {
    const { datastoreListen } = this.#config;
    const kind = this.#config.datastoreEndpoint.split(":")[0];
    if (datastoreListen === undefined) {
      this.#report("datastore", `${kind}`);
      return;
    }
    const { paths } = registration;
    const [cert, key, clientCa] = await Promise.all([
      readFile(paths.certificate("etcd/server-client"), "utf8"),
      readFile(paths.key("etcd/server-client"), "utf8"),
      readFile(paths.certificate("etcd/server-ca"), "utf8"),
    ]);
    const url = await datastore.listen({ url: `https://${datastoreListen}`, tls: { cert, key, clientCa } });
    this.#report("datastore", `${kind}, etcd API at ${url}`);
  }

  async #startKubeApi(registration: Registration): Promise<void> {
    const { advertise, values, httpsPort } = this.#config;
    const [{ clientCaPem, requestHeaderCaPem, serverCaPem }, serviceKey, apiClient] = await Promise.all([
      registration.caBundles(),
      readFile(registration.paths.serviceKeyCurrent, "utf8"),
      registration.readCertificate("client-kube-apiserver"),
    ]);
    const client = { ca: serverCaPem, cert: apiClient.certPem, key: apiClient.keyPem };
    const kubeApi = createKubeApi(
      {
        etcd: { endpoints: [`unix://${this.#datastoreSocket}`] },
        listen: [{ socketPath: this.#apiSocket }],
        clientCaPem,
        requestHeaderCaPem,
        advertise,
        serviceCidr: values["service-cidr"][0]!,
        serviceAccount: {
          privateKeyPem: serviceKey,
          issuer: `https://kubernetes.default.svc.${values["cluster-domain"]}`,
        },
        egress: { connectUrl: `https://${loopbackOf(this.#config.bindAddress)}:${httpsPort}`, tls: client },
        kubelet: client,
      },
      this.#part("kube-api"),
    );
    await this.#lifecycle.run("kube-api", kubeApi);
    this.#report("api", "Kubernetes API");
  }

  async #startGateway(registration: Registration): Promise<Gateway> {
    const { bindAddress, httpsPort, dataDir, values } = this.#config;
    const gateway: Gateway = createGateway(
      {
        listen: { host: bindAddress, port: httpsPort },
        registration,
        kubeApi: { socketPath: this.#apiSocket },
        listenerDirectory: join(dataDir, "server", "tls"),
        staticDirectory: join(dataDir, "server", "static"),
        tunnel: {
          mode: egressMode(values["egress-selector-mode"]),
          kubeApi: { socketPath: this.#apiSocket },
          ownListeners: () => [gateway.address],
        },
      },
      this.#part("gateway"),
    );
    await this.#lifecycle.run("gateway", gateway);
    this.#report("gateway", `https://${gateway.address.host}:${gateway.address.port}`);
    return gateway;
  }

  async #writeKubeconfig(registration: Registration): Promise<void> {
    const { kubeconfig, bindAddress, httpsPort } = this.#config;
    const content = await registration.adminKubeconfig(`https://${loopbackOf(bindAddress)}:${httpsPort}`);
    await writeFileAtomic(kubeconfig.path, content, kubeconfig.mode);
    this.#deps.log.info({ kubeconfig: kubeconfig.path }, "admin kubeconfig written");
  }
}

/** The address on this host that reaches a listener bound to `bindAddress`. */
function loopbackOf(bindAddress: string): string {
  if (bindAddress === "0.0.0.0") return "127.0.0.1";
  if (bindAddress === "::") return "[::1]";
  return bindAddress.includes(":") ? `[${bindAddress}]` : bindAddress;
}

const egressModes = ["disabled", "agent", "pod", "cluster"] as const;

function egressMode(value: string): (typeof egressModes)[number] {
  const mode = egressModes.find((known) => known === value);
  if (mode === undefined) {
    throw new KeelsonError(
      "option/invalid",
      `--egress-selector-mode must be one of ${egressModes.join(", ")}, got "${value}"`,
    );
  }
  return mode;
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
