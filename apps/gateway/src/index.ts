export { createGateway, type Gateway, type GatewayConfig, type GatewayLimits } from "./gateway.ts";
export { gatewayConfig, gatewayOptions } from "./options.ts";
export { createTunnelHub, type TunnelHub, type TunnelHubOptions } from "./tunnel/index.ts";
export type { KubeApiTarget, UpstreamTls } from "./upstream/upstreams.ts";
