export { ComponentIdentity, type ComponentIdentityOptions } from "./api/component-identity.ts";
export { createRegistrationHttpClient, type RegistrationHttpOptions } from "./api/http-client.ts";
export { PinnedServer } from "./api/pinned-server.ts";
export type { ComponentName } from "./api/wire.ts";
export { type ClusterSettings, defaultClusterSettings } from "./bootstrap/cluster-config.ts";
export type { EnvelopeStore, StoredValue } from "./bootstrap/envelope-store.ts";
export { createSuccessorCas, readCas } from "./certificates/ca-successors.ts";
export { type CheckedCertificate, checkCertificates } from "./certificates/certificate-check.ts";
export { embeddedKubeconfig } from "./certificates/kubeconfig.ts";
export { requestRotation } from "./certificates/rotation-request.ts";
export type { LeafStatus } from "./certificates/server-pki.ts";
export type { ClusterApi, NodeEvent, NodeObject } from "./cluster/cluster-api.ts";
export { KubeClusterApi } from "./cluster/kube-cluster-api.ts";
export type { RegistrationConfig, RegistrationDependencies } from "./config.ts";
export { type CreateRegistrationConfig, createRegistration } from "./create-registration.ts";
export { listRegisteredNodes, type RegisteredNode, releaseNode } from "./nodes/registered-nodes.ts";
export { registrationConfig, registrationOptions } from "./options.ts";
export { Registration } from "./registration.ts";
export { openSavedIdentity, type RestoredServer, type SavedIdentity } from "./restore-identity.ts";
export { type ServerPaths, serverPaths } from "./server-paths.ts";
export {
  createBootstrapToken,
  deleteBootstrapToken,
  listBootstrapTokens,
  type NewBootstrapToken,
  sweepBootstrapTokens,
} from "./tokens/bootstrap-tokens.ts";
