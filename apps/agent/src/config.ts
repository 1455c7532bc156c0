export interface AgentConfig {
  /** Registration addresses, `https://host:port`. */
  servers: readonly string[];
  /** The cluster's token, or who knows it; or a file that holds it, waited for until it is there. Both are asked each time. */
  token?: string | (() => string);
  tokenFile?: string;
  dataDir: string;
  nodeName: string;
  withNodeId?: boolean;
  nodePasswordFile: string;
  /** Port of the local load balancer; 0 picks one. */
  lbPort: number;
  /** Addresses of the node (the host's first). */
  nodeIps: readonly string[];
  nodeExternalIps?: readonly string[];
  nodeLabels?: Readonly<Record<string, string>>;
  nodeTaints?: readonly { key: string; value?: string; effect: string }[];
  /** A kubelet to run; without one the agent keeps the Node itself. */
  kubelet?: KubeletConfig | undefined;
  /** Told what comes up, for people who watch. */
  report?: (step: "agent" | "tunnel" | "node", detail: string) => void;
}

export interface KubeletConfig {
  path: string;
  args: readonly string[];
  runtimeEndpoint: string | undefined;
  rootDir: string;
}
