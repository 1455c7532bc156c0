export { type Agent, type AgentConfig, createAgent, type KubeletConfig } from "./agent.ts";
export { agentConfig, agentOptions } from "./options.ts";
export type { AgentStatus, JoinState } from "./status/status.ts";
