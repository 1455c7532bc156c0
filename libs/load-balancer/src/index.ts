export { formatAddress, isAddress, parseServerUrl, type ResolveHost, resolveHost, splitAddress } from "./address.ts";
export { downAdvice } from "./down-advice.ts";
export { createLoadBalancer } from "./load-balancer.ts";
export type { LoadBalancer, LoadBalancerConfig } from "./load-balancer-config.ts";
export { createHttpsProbe, type HealthProbe } from "./probe.ts";
export { type CheckResult, type ListEffect, ServerList, type ServerStatus } from "./server-list.ts";
export { preference, type ServerState } from "./server-state.ts";
