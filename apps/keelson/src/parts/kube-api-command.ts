import { type EtcdClientOptions, tlsFromFiles } from "@keelson/etcd-client";
import { createKubeApi, kubeApiOptions } from "@keelson/kube-api";
import type { ComponentIdentity } from "@keelson/registration";
import { composeService, type Dependencies, defineOptions, type Lifecycle, type OptionValues } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { daemonOptions, runDaemon } from "../daemon.ts";
import { componentIdentity, componentOptions, hostAddresses, partDataDirOption } from "./component.ts";

const options = defineOptions({ ...kubeApiOptions, ...partDataDirOption, ...componentOptions, ...daemonOptions });

export const kubeApiCommand = defineCommand({
  options,
  configFile: true,
  async run({ options: values }) {
    return runDaemon("kube-api", values, (deps) =>
      composeService(deps.log, (lifecycle) => startKubeApi(values, deps, lifecycle)),
    );
  },
});

/** An embedded Kubernetes API with an identity of its own, in a process of its own. */
async function startKubeApi(
  values: OptionValues<typeof options>,
  deps: Dependencies,
  lifecycle: Lifecycle,
): Promise<void> {
  // Gateways reach it under the name of its service, kubectl through them under the cluster's names.
  const names = ["kube-api", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
  const identity = await componentIdentity("kube-api", values, names, deps);
  await lifecycle.run("identity", identity);
  const client = identity.liveTls("client-kube-apiserver");
  const gatewayUrl = values["gateway-url"];
  const kubeApi = createKubeApi(
    {
      etcd: etcdOptions(values, identity),
      listen: [
        {
          host: values["bind-address"],
          port: values["secure-port"],
          tls: {
            ...identity.certificate("serving-kube-apiserver"),
            ca: identity.bundle("client-ca") + identity.bundle("request-header-ca"),
          },
        },
      ],
      ...clientCas(identity),
      advertise: {
        address:
          values["advertise-address"] ?? hostAddresses().find((address) => !/^127\.|:/.test(address)) ?? "127.0.0.1",
        port: values["advertise-port"],
      },
      serviceCidr: values["service-cidr"],
      serviceAccount: {
        privateKeyPem: identity.serviceKeyPem,
        issuer: "https://kubernetes.default.svc.cluster.local",
      },
      ...(gatewayUrl === undefined ? {} : { egress: { connectUrl: gatewayUrl, tls: client } }),
      kubelet: client,
    },
    deps,
  );
  await lifecycle.run("kube-api", kubeApi);
  const unfollow = identity.onRenewed(() =>
    kubeApi.renewTls({ ...clientCas(identity), serving: identity.certificate("serving-kube-apiserver") }),
  );
  lifecycle.onStop("certificates", unfollow);
}

/** Whom the API believes: clients, and the front proxies that name others. */
function clientCas(identity: ComponentIdentity): { clientCaPem: string; requestHeaderCaPem: string } {
  return { clientCaPem: identity.bundle("client-ca"), requestHeaderCaPem: identity.bundle("request-header-ca") };
}

/** The datastore with the given files; over TLS without them, the cluster's own etcd certificates are taken. */
function etcdOptions(values: OptionValues<typeof options>, identity: ComponentIdentity): EtcdClientOptions {
  const endpoints = values["etcd-servers"];
  const { "etcd-cafile": ca, "etcd-certfile": cert, "etcd-keyfile": key } = values;
  if (ca !== undefined) return { endpoints, tls: tlsFromFiles({ ca, cert, key }) };
  if (!endpoints.some((endpoint) => endpoint.startsWith("https:"))) return { endpoints };
  return {
    endpoints,
    tls: () => ({ ca: identity.bundle("etcd-server-ca"), ...identity.certificate("etcd-client") }),
  };
}
