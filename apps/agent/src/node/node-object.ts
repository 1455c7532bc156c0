import { readFile, statfs } from "node:fs/promises";
import { arch, availableParallelism, platform, release, totalmem } from "node:os";
import type { KubeObject } from "@keelson/kube-client";
import { agentVersion, noKubeletTaint } from "@keelson/protocol/supervisor";

export interface NodeCondition {
  type: string;
  status: "True" | "False" | "Unknown";
  reason: string;
  message: string;
  lastHeartbeatTime: string;
  lastTransitionTime: string;
}

/** A Node as far as the agent writes it. Source: Kubernetes core/v1, as a kubelet registers it. */
export interface NodeObject extends KubeObject {
  spec?: { taints?: { key: string; value?: string; effect: string }[]; [other: string]: unknown };
  status?: {
    capacity?: Record<string, string>;
    allocatable?: Record<string, string>;
    conditions?: NodeCondition[];
    addresses?: { type: string; address: string }[];
    daemonEndpoints?: { kubeletEndpoint: { Port: number } };
    nodeInfo?: Record<string, string>;
    [other: string]: unknown;
  };
}

export interface NodeFacts {
  name: string;
  internalIps: readonly string[];
  externalIps: readonly string[];
  labels: Readonly<Record<string, string>>;
  taints: readonly { key: string; value?: string; effect: string }[];
  kubeletPort: number;
}

const goArch: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386" };

/** What this host is, read once. */
export async function hostFacts(): Promise<{ capacity: Record<string, string>; nodeInfo: Record<string, string> }> {
  const [machineId, systemUuid, bootId, osRelease, disk] = await Promise.all([
    line("/etc/machine-id"),
    line("/sys/class/dmi/id/product_uuid"),
    line("/proc/sys/kernel/random/boot_id"),
    line("/etc/os-release"),
    statfs("/").catch(() => undefined),
  ]);
  return {
    capacity: {
      cpu: String(availableParallelism()),
      memory: `${Math.floor(totalmem() / 1024)}Ki`,
      "ephemeral-storage": disk === undefined ? "0" : `${Math.floor((disk.blocks * disk.bsize) / 1024)}Ki`,
      pods: "0",
    },
    nodeInfo: {
      machineID: machineId,
      systemUUID: systemUuid || machineId,
      bootID: bootId,
      kernelVersion: release(),
      osImage: /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(osRelease)?.[1] ?? "unknown",
      operatingSystem: platform(),
      architecture: goArch[arch()] ?? arch(),
    },
  };
}

async function line(path: string): Promise<string> {
  return (await readFile(path, "utf8").catch(() => "")).trim();
}

/** The Node that stands for this host while no kubelet runs on it. */
export function nodeObject(
  facts: NodeFacts,
  host: { capacity: Record<string, string>; nodeInfo: Record<string, string> },
  now: string,
): NodeObject {
  const { architecture = "", operatingSystem = "" } = host.nodeInfo;
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name: facts.name,
      labels: {
        "beta.kubernetes.io/arch": architecture,
        "beta.kubernetes.io/os": operatingSystem,
        "kubernetes.io/arch": architecture,
        "kubernetes.io/hostname": facts.name,
        "kubernetes.io/os": operatingSystem,
        ...facts.labels,
      },
      annotations: nodeAnnotations(facts),
    },
    spec: { taints: [...facts.taints, noKubeletTaint] },
    status: {
      capacity: host.capacity,
      allocatable: host.capacity,
      conditions: nodeConditions(now),
      addresses: nodeAddresses(facts),
      daemonEndpoints: { kubeletEndpoint: { Port: facts.kubeletPort } },
      nodeInfo: {
        ...host.nodeInfo,
        containerRuntimeVersion: "none://",
        kubeletVersion: agentVersion,
        kubeProxyVersion: agentVersion,
      },
    },
  };
}

/** The annotations from which K3s's cloud controller takes a node's addresses. */
export function nodeAnnotations(facts: NodeFacts): Record<string, string> {
  return {
    "k3s.io/hostname": facts.name,
    "k3s.io/internal-ip": facts.internalIps.join(","),
    ...(facts.externalIps.length === 0 ? {} : { "k3s.io/external-ip": facts.externalIps.join(",") }),
  };
}

function nodeAddresses(facts: NodeFacts): { type: string; address: string }[] {
  return [
    ...facts.internalIps.map((address) => ({ type: "InternalIP", address })),
    ...facts.externalIps.map((address) => ({ type: "ExternalIP", address })),
    { type: "Hostname", address: facts.name },
  ];
}

export function nodeConditions(now: string, since = now): NodeCondition[] {
  const condition = (type: string, status: "True" | "False", reason: string, message: string): NodeCondition => ({
    type,
    status,
    reason,
    message,
    lastHeartbeatTime: now,
    lastTransitionTime: since,
  });
  return [
    condition("MemoryPressure", "False", "NoKubelet", "no kubelet runs on this node"),
    condition("DiskPressure", "False", "NoKubelet", "no kubelet runs on this node"),
    condition("PIDPressure", "False", "NoKubelet", "no kubelet runs on this node"),
    condition("Ready", "True", "AgentReady", "keelson agent is connected; no kubelet runs on this node"),
  ];
}
