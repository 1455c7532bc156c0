import { defineOptions } from "@keelson/service";

/** Flags of `k3s server` that all servers of a cluster must have in common, beside its networks: agents are told of them. */
export const clusterOptions = defineOptions({
  disable: {
    type: "list",
    placeholder: "part",
    help: "Packaged parts of K3s to leave out (none is packaged here: any name is fine)",
  },
  "disable-cloud-controller": {
    type: "boolean",
    default: true,
    help: "Tell agents that no cloud controller will initialise their nodes",
  },
  "disable-helm-controller": { type: "boolean", default: true, help: "Say that there is no Helm controller" },
  "disable-kube-proxy": { type: "boolean", help: "Tell agents to run no kube-proxy" },
  "disable-network-policy": { type: "boolean", help: "Tell agents to run no network policy controller" },
  "flannel-backend": {
    type: "string",
    default: "vxlan",
    placeholder: "backend",
    help: "Backend of flannel on agents: none, vxlan, host-gw or wireguard-native",
  },
  "flannel-external-ip": { type: "boolean", help: "Have flannel use the nodes' external addresses" },
  "flannel-ipv6-masq": { type: "boolean", help: "Have flannel masquerade IPv6 traffic of pods" },
  "system-default-registry": {
    type: "string",
    default: "",
    env: "K3S_SYSTEM_DEFAULT_REGISTRY",
    placeholder: "registry",
    help: "Registry from which agents take the system's images",
  },
  "secrets-encryption": {
    type: "boolean",
    help: "Refused when set: Secrets are stored as they are, so encrypt the datastore's disk",
  },
});
