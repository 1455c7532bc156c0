import { readFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import type { KubeApiTarget } from "@keelson/gateway";
import { createApiEndpoints, createKubeApi } from "@keelson/kube-api";
import type { KubeClientOptions } from "@keelson/kube-client";
import type { Registration } from "@keelson/registration";
import { type Dependencies, KeelsonError, type Lifecycle } from "@keelson/service";
import type { UpstreamFacts } from "../upstream/arguments.ts";
import type { ServerConfig } from "./config.ts";
import type { DatastorePart } from "./datastore-part.ts";

/** The Kubernetes API of a server: the embedded one, or an upstream kube-apiserver that we run. */
export interface KubeApiPart {
  /** How registration finds it, before there is a certificate to show; where it has a URL, its components go there too. */
  readonly address: { socketPath: string } | { server: string };
  start(lifecycle: Lifecycle, registration: Registration, datastore: DatastorePart): Promise<void>;
  /** How the gateway reaches it, once registration has certificates. */
  gatewayTarget(registration: Registration): Promise<KubeApiTarget>;
  /** How a part of this process calls it, as an administrator. */
  client(registration: Registration): Promise<KubeClientOptions>;
  /** What came up, in a few words. */
  readonly description: string;
}

export function createKubeApiPart(config: ServerConfig, gatewayUrl: string, deps: Dependencies): KubeApiPart {
  const path = config.values["kube-apiserver-path"];
  if (path !== undefined) return upstreamPart(config, path, gatewayUrl, deps);
  refuseUpstreamAlone(config, deps);
  return embeddedPart(config, gatewayUrl, deps);
}

/** What is for upstream programs has no effect on the embedded API: a program is refused, flags of K3s's config are named. */
function refuseUpstreamAlone({ values }: ServerConfig, { log }: Dependencies): void {
  for (const name of ["kube-controller-manager-path", "kube-scheduler-path"] as const) {
    if (values[name] === undefined) continue;
    throw new KeelsonError("option/missing", `--${name} needs --kube-apiserver-path`, {
      hint: "the embedded API brings its own controllers; name a kube-apiserver too, or leave this out",
    });
  }
  const flags = (["kube-apiserver-arg", "kube-controller-manager-arg", "kube-scheduler-arg"] as const).filter(
    (name) => values[name].length > 0,
  );
  if (flags.length === 0) return;
  log.warn({ options: flags }, "these have no effect on the embedded API: they are for --kube-apiserver-path");
}

function embeddedPart(config: ServerConfig, gatewayUrl: string, deps: Dependencies): KubeApiPart {
  const socketPath = join(config.dataDir, "server", "kube-api.sock");
  const { advertise, values } = config;
  return {
    address: { socketPath },
    description: "Kubernetes API",
    gatewayTarget: async () => ({ socketPath }),
    client: async () => ({ socketPath }),
    async start(lifecycle, registration, datastore) {
      const [{ clientCaPem, requestHeaderCaPem }, serviceKey, client] = await Promise.all([
        registration.caBundles(),
        readFile(registration.paths.serviceKeyCurrent, "utf8"),
        registration.liveTls("client-kube-apiserver"),
      ]);
      const kubeApi = createKubeApi(
        {
          etcd: datastore.client,
          listen: [{ socketPath }],
          clientCaPem,
          requestHeaderCaPem,
          advertise,
          serviceCidr: values["service-cidr"][0]!,
          serviceAccount: {
            privateKeyPem: serviceKey,
            issuer: `https://kubernetes.default.svc.${values["cluster-domain"]}`,
          },
          egress: { connectUrl: gatewayUrl, tls: client },
          kubelet: client,
        },
        deps,
      );
      await lifecycle.run("kube-api", kubeApi);
    },
  };
}

function upstreamPart(config: ServerConfig, path: string, gatewayUrl: string, deps: Dependencies): KubeApiPart {
  const { values, advertise } = config;
  const server = `https://127.0.0.1:${values["kube-apiserver-port"]}`;
  const administrator = async (registration: Registration): Promise<KubeClientOptions> => ({
    server,
    tls: await registration.liveTls("client-supervisor"),
  });
  return {
    address: { server },
    description: `${path} at ${server}`,
    client: administrator,
    async gatewayTarget(registration) {
      const tls = await registration.liveTls("client-auth-proxy");
      return { urls: [server], tls: () => tls };
    },
    async start(lifecycle, registration, datastore) {
      const { UpstreamKubernetes } = await import("../upstream/upstream-kubernetes.ts");
      const program = (name: "kube-controller-manager" | "kube-scheduler") => {
        const programPath = values[`${name}-path`];
        return programPath === undefined ? undefined : { path: commandPath(programPath), args: values[`${name}-arg`] };
      };
      const upstream = new UpstreamKubernetes(
        {
          programs: {
            apiserver: { path: commandPath(path), args: values["kube-apiserver-arg"] },
            controllerManager: program("kube-controller-manager"),
            scheduler: program("kube-scheduler"),
          },
          facts: upstreamFacts(config, registration, datastore),
          gatewayUrl,
          client: () => administrator(registration),
          runDirectory: serverDirectory(config),
        },
        deps,
      );
      await lifecycle.run("upstream Kubernetes", upstream);
      const endpoints = { etcd: datastore.client, kubeApi: await administrator(registration), advertise };
      await lifecycle.run("API endpoints", createApiEndpoints(endpoints, deps));
    },
  };
}

function upstreamFacts(config: ServerConfig, { paths }: Registration, datastore: DatastorePart): UpstreamFacts {
  const { values, advertise } = config;
  const directory = serverDirectory(config);
  return {
    tls: (file) => join(paths.tls, file),
    kubeconfig: (name) => paths.kubeconfig(name),
    port: values["kube-apiserver-port"],
    advertiseAddress: advertise.address,
    etcd: { endpoints: datastore.client.endpoints.map((url) => socketBelow(directory, url)), ...datastore.files },
    serviceCidrs: values["service-cidr"],
    clusterCidrs: values["cluster-cidr"],
    nodePortRange: values["service-node-port-range"],
    clusterDomain: values["cluster-domain"],
    egressConfigFile:
      values["egress-selector-mode"] === "disabled" ? undefined : join(directory, "etc", "egress-selector-config.yaml"),
  };
}

/** Where the upstream programs run. */
function serverDirectory({ dataDir }: ServerConfig): string {
  return join(dataDir, "server");
}

/** A program as its user meant it before it runs in another folder: a path from here, or a name in PATH. */
function commandPath(path: string): string {
  return path.includes("/") ? resolve(path) : path;
}

/**
 * A socket's URL as kube-apiserver takes it: before it starts it dials the URL's host and forgets its path, so the socket has to
 * be named from the folder that it runs in.
 */
function socketBelow(directory: string, url: string): string {
  return url.startsWith("unix://") ? `unix://${relative(directory, url.slice("unix://".length))}` : url;
}
