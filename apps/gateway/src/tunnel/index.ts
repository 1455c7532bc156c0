export type { DialOptions } from "./node-dialer.ts";
export type { ReplicaTls } from "./replicas/hand-over.ts";
export { createTunnelHub, type HubSession, type TunnelHub, type TunnelHubOptions } from "./tunnel-hub.ts";
