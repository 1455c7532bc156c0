import { age, countOf, endpointSliceColumns, field, name } from "../table/columns.ts";
import { bindingColumns } from "../table/workload-columns.ts";
import { coreKinds } from "./core-kinds.ts";
import { eventKinds } from "./event-kinds.ts";
import { immutable } from "./immutable.ts";
import type { Kind } from "./kind.ts";
import { nameAndCreation, row } from "./row.ts";
import * as rules from "./rules.ts";
import { endpointSliceV1Beta1 } from "./versions.ts";
import { workloadKinds } from "./workload-kinds.ts";

/**
 * Every kind that is served. Storage prefixes are kube-apiserver's, so that it can take over the same data. Workload and
 * policy kinds are stored and watched as objects; no controller here acts on them.
 */
export const kinds: readonly Kind[] = [
  ...coreKinds,
  ...eventKinds,
  row("coordination.k8s.io", "Lease", "leases", {
    namespaced: true,
    columns: [name, field("Holder", "spec.holderIdentity"), age],
  }),
  row("discovery.k8s.io", "EndpointSlice", "endpointslices", {
    namespaced: true,
    versions: ["v1", "v1beta1"],
    views: { v1beta1: endpointSliceV1Beta1 },
    columns: endpointSliceColumns,
    hasGeneration: true,
  }),
  row("node.k8s.io", "RuntimeClass", "runtimeclasses", {
    namespaced: false,
    versions: ["v1", "v1beta1"],
    columns: [name, field("Handler", "handler"), age],
  }),
  row("scheduling.k8s.io", "PriorityClass", "priorityclasses", {
    namespaced: false,
    shortNames: ["pc"],
    columns: [name, field("Value", "value"), age],
  }),
  row("storage.k8s.io", "StorageClass", "storageclasses", {
    namespaced: false,
    shortNames: ["sc"],
    columns: [name, field("Provisioner", "provisioner"), age],
  }),
  row("storage.k8s.io", "CSINode", "csinodes", {
    namespaced: false,
    columns: [name, countOf("Drivers", "spec.drivers"), age],
  }),
  row("storage.k8s.io", "CSIDriver", "csidrivers", { namespaced: false }),
  row("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities", { namespaced: true }),
  row("storage.k8s.io", "VolumeAttachment", "volumeattachments", { namespaced: false, subresources: ["status"] }),
  ...workloadKinds,
  row("rbac.authorization.k8s.io", "Role", "roles", { namespaced: true, columns: nameAndCreation }),
  row("rbac.authorization.k8s.io", "RoleBinding", "rolebindings", {
    validate: immutable(["roleRef"], "cannot change roleRef"),
    columns: bindingColumns,
    namespaced: true,
  }),
  row("rbac.authorization.k8s.io", "ClusterRole", "clusterroles", { namespaced: false, columns: nameAndCreation }),
  row("rbac.authorization.k8s.io", "ClusterRoleBinding", "clusterrolebindings", {
    validate: immutable(["roleRef"], "cannot change roleRef"),
    columns: bindingColumns,
    namespaced: false,
  }),
  row("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests", {
    namespaced: false,
    shortNames: ["csr"],
    subresources: ["status", "approval"],
    setRequester: rules.setCertificateRequester,
    restore: rules.restoreCertificateRequest,
    columns: [name, age, field("SignerName", "spec.signerName"), field("Requestor", "spec.username")],
  }),
];
