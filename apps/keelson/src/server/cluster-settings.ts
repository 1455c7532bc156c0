import { type ClusterSettings, defaultClusterSettings } from "@keelson/registration";
import type { ServerValues } from "./config.ts";

/** The cluster-wide settings among the server's options. */
export function clusterSettings(values: ServerValues): Partial<ClusterSettings> {
  return {
    ...defaultClusterSettings,
    clusterCidrs: values["cluster-cidr"],
    serviceCidrs: values["service-cidr"],
    serviceNodePortRange: values["service-node-port-range"],
    ...(values["cluster-dns"].length === 0 ? {} : { clusterDns: values["cluster-dns"] }),
    clusterDomain: values["cluster-domain"],
    egressSelectorMode: values["egress-selector-mode"],
    flannelBackend: values["flannel-backend"],
    flannelExternalIp: values["flannel-external-ip"],
    flannelIpv6Masq: values["flannel-ipv6-masq"],
    systemDefaultRegistry: values["system-default-registry"],
    disableCloudController: values["disable-cloud-controller"],
    disableHelmController: values["disable-helm-controller"],
    disableKubeProxy: values["disable-kube-proxy"],
    disableNetworkPolicy: values["disable-network-policy"],
  };
}
