import { join } from "node:path";
import { KeelsonError } from "@keelson/service";

export interface DevPlanInput {
  servers: number;
  agents: number;
  dataDir: string;
  /** Port of the fixed registration address and of each server. */
  httpsPort: number;
  /** Client load balancer port of the first agent; the next agents count up. */
  lbPort: number;
  datastorePort: number;
  datastoreEndpoint: string | undefined;
}

export interface PlannedProcess {
  name: string;
  dataDir: string;
  args: readonly string[];
}

export interface DevPlan {
  /** `host:port` agents and kubectl use. */
  registrationAddress: string;
  /** True when a local balancer must stand in front of several servers. */
  needsBalancer: boolean;
  servers: readonly (PlannedProcess & { address: string; datastoreAddress: string })[];
  agents: readonly (PlannedProcess & { lbAddress: string })[];
  kubeconfig: string;
}

const registrationHost = "127.0.0.1";
/** Ports of one etcd member: client, peer, metrics. */
const etcdPorts = 3;

/**
 * Lays out a local cluster on loopback. One server sits on the registration address itself; several get loopback
 * addresses of their own (127.0.1.1, …) with the same port, as servers on real hosts have, behind a balancer.
 */
export function planDev(input: DevPlanInput): DevPlan {
  if (!Number.isInteger(input.servers) || input.servers < 1) throw invalid("--servers must be at least 1");
  if (!Number.isInteger(input.agents) || input.agents < 0) throw invalid("--agents must not be negative");
  const several = input.servers > 1;
  const kubeconfig = join(input.dataDir, "kubeconfig.yaml");
  const servers = Array.from({ length: input.servers }, (_, index) => {
    const name = `server-${index + 1}`;
    const host = several ? `127.0.1.${index + 1}` : registrationHost;
    const dataDir = join(input.dataDir, name);
    return {
      name,
      dataDir,
      address: `${host}:${input.httpsPort}`,
      datastoreAddress: `${host}:${input.datastorePort}`,
      args: [
        "server",
        `--data-dir=${dataDir}`,
        `--node-name=${name}`,
        `--bind-address=${host}`,
        `--advertise-address=${host}`,
        `--https-listen-port=${input.httpsPort}`,
        `--datastore-listen-address=${host}:${input.datastorePort}`,
        `--write-kubeconfig=${index === 0 ? kubeconfig : join(dataDir, "kubeconfig.yaml")}`,
        "--tls-san=127.0.0.1",
        "--disable-agent",
        ...datastoreArgs(input, index),
      ],
    };
  });
  const agents = Array.from({ length: input.agents }, (_, index) => {
    const name = `agent-${index + 1}`;
    const dataDir = join(input.dataDir, name);
    const lbPort = input.lbPort + index;
    return {
      name,
      dataDir,
      lbAddress: `127.0.0.1:${lbPort}`,
      args: [
        "agent",
        `--server=https://${registrationHost}:${input.httpsPort}`,
        `--data-dir=${dataDir}`,
        `--node-name=${name}`,
        `--node-ip=127.0.0.1`,
        "--kubelet-path=",
        `--lb-server-port=${lbPort}`,
        `--node-password-file=${join(dataDir, "node", "password")}`,
      ],
    };
  });
  return {
    registrationAddress: `${registrationHost}:${input.httpsPort}`,
    needsBalancer: several,
    servers,
    agents,
    kubeconfig,
  };
}

/** Several servers share an external database when one is named, else they form an embedded etcd cluster. */
function datastoreArgs(input: DevPlanInput, index: number): string[] {
  if (input.datastoreEndpoint !== undefined) return [`--datastore-endpoint=${input.datastoreEndpoint}`];
  if (input.servers === 1) return [];
  // Every etcd also listens on loopback, which all servers of this machine share.
  const client = input.datastorePort + index * etcdPorts;
  const ports = [`--etcd-client-port=${client}`, `--etcd-peer-port=${client + 1}`, `--etcd-metrics-port=${client + 2}`];
  const origin = index === 0 ? "--cluster-init" : `--server=https://127.0.1.1:${input.httpsPort}`;
  return [origin, ...ports];
}

function invalid(message: string): KeelsonError {
  return new KeelsonError("option/invalid", message);
}
