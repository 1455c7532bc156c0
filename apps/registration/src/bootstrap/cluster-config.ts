import { isIP } from "node:net";
import { addressInRange, type ServerConfig, toGoCidr, toGoPortRange } from "@keelson/protocol/supervisor";
import { KeelsonError } from "@keelson/service";

/** The cluster-wide settings that agents and joining servers read. Names and defaults are k3s's flags. */
export interface ClusterSettings {
  clusterCidrs: readonly string[];
  serviceCidrs: readonly string[];
  serviceNodePortRange: string;
  /** Defaults to the tenth address of the first service range. */
  clusterDns?: readonly string[];
  clusterDomain: string;
  flannelBackend: string;
  flannelExternalIp: boolean;
  flannelIpv6Masq: boolean;
  egressSelectorMode: string;
  systemDefaultRegistry: string;
  disableCloudController: boolean;
  disableNetworkPolicy: boolean;
  disableKubeProxy: boolean;
  disableHelmController: boolean;
  disableServiceLb: boolean;
}

export const defaultClusterSettings: ClusterSettings = {
  clusterCidrs: ["10.42.0.0/16"],
  serviceCidrs: ["10.43.0.0/16"],
  serviceNodePortRange: "30000-32767",
  clusterDomain: "cluster.local",
  flannelBackend: "vxlan",
  flannelExternalIp: false,
  flannelIpv6Masq: false,
  egressSelectorMode: "agent",
  systemDefaultRegistry: "",
  // There is no cloud controller here that would take the initial taint off a node.
  disableCloudController: true,
  disableNetworkPolicy: false,
  disableKubeProxy: false,
  disableHelmController: true,
  disableServiceLb: true,
};

export interface ServerAddress {
  httpsPort: number;
  advertiseAddress: string;
  advertisePort: number;
}

/** Throws `config/invalid` naming the setting that cannot be read. */
export function checkClusterSettings(settings: ClusterSettings): void {
  goSettings(settings);
}

/** The first address of the first service range: the API server's Service. */
export function apiServerServiceAddress(settings: ClusterSettings): string {
  return addressInRange(settings.serviceCidrs[0]!, 1);
}

/** The document of `/v1-k3s/config`. */
export function buildServerConfig(settings: ClusterSettings, address: ServerAddress, ipsecKey: string): ServerConfig {
  const { ranges, serviceRanges, nodePorts, dns } = goSettings(settings);
  return {
    AdvertiseIP: address.advertiseAddress,
    AdvertisePort: address.advertisePort,
    APIServerPort: address.httpsPort + 1,
    CipherSuites: null,
    ClusterDNS: dns[0] ?? "",
    ClusterDNSs: dns,
    ClusterDomain: settings.clusterDomain,
    ClusterIPRange: ranges[0] ?? null,
    ClusterIPRanges: ranges,
    DisableCCM: settings.disableCloudController,
    DisableHelmController: settings.disableHelmController,
    DisableKubeProxy: settings.disableKubeProxy,
    DisableNPC: settings.disableNetworkPolicy,
    DisableServiceLB: settings.disableServiceLb,
    EgressSelectorMode: settings.egressSelectorMode,
    EmbeddedRegistry: false,
    EncryptProvider: "",
    EncryptSecrets: false,
    FlannelBackend: settings.flannelBackend,
    FlannelExternalIP: settings.flannelExternalIp,
    FlannelIPMasqDisableRandomFully: false,
    FlannelIPv6Masq: settings.flannelIpv6Masq,
    HTTPSPort: address.httpsPort,
    IPSECPSK: ipsecKey,
    MinTLSVersion: "",
    ServiceIPRange: serviceRanges[0] ?? null,
    ServiceIPRanges: serviceRanges,
    ServiceNodePortRange: nodePorts,
    SupervisorMetrics: false,
    SupervisorPort: address.httpsPort,
    SystemDefaultRegistry: settings.systemDefaultRegistry,
  };
}

/** The settings that Go has types of its own for, in their form. */
function goSettings(settings: ClusterSettings) {
  const ranges = parse("cluster-cidr", () => settings.clusterCidrs.map(toGoCidr));
  const serviceRanges = parse("service-cidr", () => settings.serviceCidrs.map(toGoCidr));
  const nodePorts = parse("service-node-port-range", () => toGoPortRange(settings.serviceNodePortRange));
  const dns = settings.clusterDns ?? [addressInRange(settings.serviceCidrs[0]!, 10)];
  for (const address of dns) {
    if (isIP(address) === 0) throw new KeelsonError("config/invalid", `--cluster-dns: "${address}" is not an address`);
  }
  return { ranges, serviceRanges, nodePorts, dns };
}

function parse<T>(option: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new KeelsonError("config/invalid", `--${option} cannot be read`, { cause });
  }
}
