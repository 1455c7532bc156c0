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
  };
}
