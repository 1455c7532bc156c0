export { ComponentIdentity, type ComponentIdentityOptions } from "./api/component-identity.ts";
export { createRegistrationHttpClient, type RegistrationHttpOptions } from "./api/http-client.ts";
export { PinnedServer } from "./api/pinned-server.ts";
export type { ComponentName } from "./api/wire.ts";
export {
  createBootstrapToken,
  deleteBootstrapToken,
  listBootstrapTokens,
  type NewBootstrapToken,
  sweepBootstrapTokens,
} from "./bootstrap-tokens.ts";
export { createSuccessorCas, readCas } from "./ca-successors.ts";
export { type CheckedCertificate, checkCertificates } from "./certificate-check.ts";
export type { ClusterApi, NodeEvent, NodeObject } from "./cluster-api.ts";
export { type ClusterSettings, defaultClusterSettings } from "./cluster-config.ts";
export type { RegistrationConfig, RegistrationDependencies } from "./config.ts";
export { type CreateRegistrationConfig, createRegistration } from "./create-registration.ts";
export type { EnvelopeStore, StoredValue } from "./envelope-store.ts";
export { KubeClusterApi } from "./kube-cluster-api.ts";
export { embeddedKubeconfig } from "./kubeconfig.ts";
export { registrationConfig, registrationOptions } from "./options.ts";
export { listRegisteredNodes, type RegisteredNode, releaseNode } from "./registered-nodes.ts";
export { Registration } from "./registration.ts";
export { requestRotation } from "./rotation-request.ts";
export { type ServerPaths, serverPaths } from "./server-paths.ts";
export type { LeafStatus } from "./server-pki.ts";
