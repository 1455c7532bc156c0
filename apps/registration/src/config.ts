import { availableParallelism } from "node:os";
import { kubernetesNames, leafLifetimeMs, uniqueNames } from "@keelson/pki";
import type { Dependencies } from "@keelson/service";
import { apiServerServiceAddress, type ClusterSettings, defaultClusterSettings } from "./bootstrap/cluster-config.ts";
import type { EnvelopeStore } from "./bootstrap/envelope-store.ts";
import type { ClusterApi } from "./cluster/cluster-api.ts";
import type { NodePasswordOptions } from "./nodes/node-passwords.ts";

export interface RegistrationConfig {
  dataDir: string;
  /** Server token, full or short; several may be tried against an existing cluster, the first is the wanted one. */
  token?: string | readonly string[];
  agentToken?: string;
  /** This server's own name and addresses. */
  nodeName: string;
  nodeIps: readonly string[];
  advertiseAddress?: string;
  /** Port of the gateway (6443), and the one to publish if it differs. */
  httpsPort: number;
  advertisePort?: number;
  /** `--tls-san`. */
  tlsSans?: readonly string[];
  /** `--tls-san-security` (true). */
  tlsSanSecurity?: boolean;
  cluster?: Partial<ClusterSettings>;
  /** URL in the components' kubeconfigs (the gateway on loopback): an upstream kube-apiserver's own, which is up before it. */
  apiServerUrl?: string;
  /** The password file of the agent on this host, if one runs here. */
  nodePasswordFile?: string;
  /** `--server`: a running server (or the fixed registration address) of the cluster that this one joins. */
  joinUrl?: string;
  /** The datastore is shared with other servers: take the cluster's identity from it, or found the cluster in it. */
  sharedDatastore?: boolean;
  /** Where the internal API for parts on other hosts listens; none without it. */
  internalApi?: { host: string; port: number };
  /** Hashes at once (cores, at most 4) and waiting (2000). */
  hashConcurrency?: number;
  maxWaitingHashes?: number;
  /** When a new name would wait longer than this for its hash, new names are claimed with provisional ones (0: at all). */
  provisionalAfterMs?: number;
  /** Lifetime of new leaf certificates (365 days, or what CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS says). */
  leafLifetimeMs?: number;
}

/** What registration talks to, beside log, clock and metrics. */
export interface RegistrationDependencies extends Dependencies {
  clusterApi: ClusterApi;
  /** The datastore, for the bootstrap envelope; without one the server stays alone. */
  envelopes?: EnvelopeStore | undefined;
}

/** The settings of a cluster, with k3s's defaults for what is not given. */
export function clusterSettings(config: RegistrationConfig): ClusterSettings {
  return { ...defaultClusterSettings, ...config.cluster };
}

/** Lifetime of new leaves: the configured one, or the days that K3s's environment variable names. */
export function leafLifetime(config: RegistrationConfig, env: NodeJS.ProcessEnv = process.env): number {
  if (config.leafLifetimeMs !== undefined) return config.leafLifetimeMs;
  const days = Number(env.CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS);
  return Number.isInteger(days) && days > 0 ? days * 86_400_000 : leafLifetimeMs;
}

/** The configured tokens, the wanted one first. */
export function configuredTokens({ token }: RegistrationConfig): readonly string[] {
  if (token === undefined) return [];
  return typeof token === "string" ? [token] : token;
}

/** Every name under which this server's API is reached. */
export function serverNames(config: RegistrationConfig): string[] {
  return uniqueNames([...kubernetesNames(clusterSettings(config).clusterDomain), ...hostNames(config)]);
}

/** Names of this server's etcd certificates: all but the API's own, and the name that kine's clients ask for. */
export function etcdNames(config: RegistrationConfig): string[] {
  return uniqueNames([...hostNames(config), "kine.sock"]);
}

function hostNames(config: RegistrationConfig): string[] {
  return [
    "localhost",
    "127.0.0.1",
    "::1",
    apiServerServiceAddress(clusterSettings(config)),
    config.nodeName,
    ...config.nodeIps,
    ...(config.advertiseAddress === undefined ? [] : [config.advertiseAddress]),
    ...(config.tlsSans ?? []),
  ];
}

/** How node passwords are checked, with the defaults for what is not given. */
export function nodePasswordOptions(config: RegistrationConfig): NodePasswordOptions {
  const { nodeName, nodePasswordFile: passwordFile } = config;
  return {
    ...(passwordFile === undefined ? {} : { ownNode: { name: nodeName.toLowerCase(), passwordFile } }),
    // libuv has four threads; one is left to file and name look-ups.
    hashConcurrency: config.hashConcurrency ?? Math.min(3, availableParallelism()),
    maxWaitingHashes: config.maxWaitingHashes ?? 2_000,
    provisionalAfterMs: config.provisionalAfterMs ?? 0,
  };
}
