export { formatAddress, parseServerUrl, type ResolveHost, resolveHost, splitAddress } from "./address.ts";
export { downAdvice } from "./down-advice.ts";
export { createLoadBalancer, type LoadBalancer, type LoadBalancerConfig } from "./load-balancer.ts";
export { createHttpsProbe, type HealthProbe } from "./probe.ts";
export { type CheckResult, type ListEffect, ServerList, type ServerStatus } from "./server-list.ts";
export { preference, type ServerState } from "./server-state.ts";
