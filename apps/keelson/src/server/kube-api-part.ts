import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { KubeApiTarget } from "@keelson/gateway";
import { createApiEndpoints, createKubeApi } from "@keelson/kube-api";
import type { KubeClientOptions } from "@keelson/kube-client";
import type { Registration } from "@keelson/registration";
import type { Dependencies, Lifecycle } from "@keelson/service";
import type { UpstreamFacts } from "../upstream/arguments.ts";
import type { ServerConfig } from "./config.ts";
import type { DatastorePart } from "./datastore-part.ts";

/** The Kubernetes API of a server: the embedded one, or an upstream kube-apiserver that we run. */
export interface KubeApiPart {
  /** How registration finds it, before there is a certificate to show. */
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
  return config.values["kube-apiserver-path"] === undefined
    ? embeddedPart(config, gatewayUrl, deps)
    : upstreamPart(config, config.values["kube-apiserver-path"], gatewayUrl, deps);
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
  const { values, dataDir, advertise } = config;
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
        return programPath === undefined ? undefined : { path: programPath, args: values[`${name}-arg`] };
      };
      const upstream = new UpstreamKubernetes(
        {
          programs: {
            apiserver: { path, args: values["kube-apiserver-arg"] },
            controllerManager: program("kube-controller-manager"),
            scheduler: program("kube-scheduler"),
          },
          facts: upstreamFacts(config, registration, datastore),
          gatewayUrl,
          client: () => administrator(registration),
          runDirectory: join(dataDir, "server"),
        },
        deps,
      );
      await lifecycle.run("upstream Kubernetes", upstream);
      const endpoints = { etcd: datastore.client, advertise, serviceCidr: values["service-cidr"][0]! };
      await lifecycle.run("API endpoints", createApiEndpoints(endpoints, deps));
    },
  };
}

function upstreamFacts(config: ServerConfig, { paths }: Registration, datastore: DatastorePart): UpstreamFacts {
  const { values, dataDir, advertise } = config;
  return {
    tls: (file) => join(paths.tls, file),
    kubeconfig: (name) => paths.kubeconfig(name),
    port: values["kube-apiserver-port"],
    advertiseAddress: advertise.address,
    etcd: { endpoints: datastore.client.endpoints, ...datastore.files },
    serviceCidrs: values["service-cidr"],
    clusterCidrs: values["cluster-cidr"],
    nodePortRange: values["service-node-port-range"],
    clusterDomain: values["cluster-domain"],
    egressConfigFile:
      values["egress-selector-mode"] === "disabled"
        ? undefined
        : join(dataDir, "server", "etc", "egress-selector-config.yaml"),
  };
}
