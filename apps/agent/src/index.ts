export { type Agent, createAgent } from "./agent.ts";
export type { AgentConfig, KubeletConfig } from "./config.ts";
export { agentConfig, agentOptions } from "./options.ts";
export type { AgentStatus, CertificateView, NodeView, ServerView, TunnelView } from "./status/status.ts";
