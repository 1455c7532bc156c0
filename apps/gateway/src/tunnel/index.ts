export {
  createTunnelHub,
  type DialOptions,
  type HubSession,
  type TunnelHub,
  type TunnelHubOptions,
} from "./tunnel-hub.ts";
