export { clockSkew } from "./clock-skew.ts";
export {
  type Authentication,
  type Credentials,
  groups,
  type Identity,
  nodeNameOf,
  nodeUser,
} from "./identity.ts";
export { type NodeClaims, nodeHeaders, readNodeClaims } from "./node-headers.ts";
export { agentVersion, isKeptByAgent, noKubeletTaint } from "./node-keeper.ts";
export { type Answer, accepted, type Refusal, refused, type StatusBody, statusBody } from "./refusal.ts";
export type {
  AgentCertificateKind,
  CaBundles,
  CertificateRequest,
  LeafSummary,
  ListenerCertificate,
  ListenerRequest,
  RegistrationClient,
} from "./registration-client.ts";
export {
  allowedGroups,
  checkRole,
  findRoute,
  type RoleClass,
  type RouteName,
  type SupervisorRoute,
  supervisorRoutes,
} from "./routes.ts";
export {
  addressBytes,
  addressInRange,
  type ConfigDifference,
  compareCriticalConfig,
  criticalConfigFields,
  formatAddress,
  fromGoCidr,
  type GoCidr,
  type ServerConfig,
  toGoCidr,
  toGoPortRange,
} from "./server-config.ts";
