import {
  age,
  countOf,
  createdAt,
  endpointSliceColumns,
  endpointsColumns,
  eventColumns,
  field,
  name,
  nodeColumns,
  podColumns,
  serviceColumns,
} from "../table/columns.ts";
import {
  bindingColumns,
  cronJobColumns,
  daemonSetColumns,
  disruptionBudgetColumns,
  ingressColumns,
  jobColumns,
  networkPolicyColumns,
  statefulSetColumns,
  workloadColumns,
} from "../table/workload-columns.ts";
import { immutable, validateStatefulSet } from "./immutable.ts";
import { type ApiObject, type Column, type Kind, textAt } from "./kind.ts";
import * as rules from "./rules.ts";
import { endpointSliceV1Beta1, eventsV1 } from "./versions.ts";

/** How long events live, in seconds. Source: kube-apiserver --event-ttl. */
const eventTtlSeconds = 3_600;

const nameAndAge: readonly Column[] = [name, age];
const nameAndCreation: readonly Column[] = [name, createdAt];

/** Starts a row: the singular and storage prefix follow from the plural unless the row says otherwise. */
function row(group: string, kind: string, plural: string, rest: Partial<Kind> & { namespaced: boolean }): Kind {
  return {
    group,
    versions: ["v1"],
    kind,
    plural,
    singular: kind.toLowerCase(),
    storagePrefix: plural,
    columns: nameAndAge,
    ...rest,
  };
}

const podFields = {
  "spec.nodeName": (pod: ApiObject) => textAt(pod, "spec.nodeName"),
  "spec.restartPolicy": (pod: ApiObject) => textAt(pod, "spec.restartPolicy"),
  "spec.schedulerName": (pod: ApiObject) => textAt(pod, "spec.schedulerName"),
  "spec.serviceAccountName": (pod: ApiObject) => textAt(pod, "spec.serviceAccountName"),
  "spec.hostNetwork": (pod: ApiObject) => textAt(pod, "spec.hostNetwork") || "false",
  "status.phase": (pod: ApiObject) => textAt(pod, "status.phase"),
  "status.podIP": (pod: ApiObject) => textAt(pod, "status.podIP"),
  "status.nominatedNodeName": (pod: ApiObject) => textAt(pod, "status.nominatedNodeName"),
};

const eventFields = {
  "involvedObject.kind": (event: ApiObject) => textAt(event, "involvedObject.kind"),
  "involvedObject.namespace": (event: ApiObject) => textAt(event, "involvedObject.namespace"),
  "involvedObject.name": (event: ApiObject) => textAt(event, "involvedObject.name"),
  "involvedObject.uid": (event: ApiObject) => textAt(event, "involvedObject.uid"),
  "involvedObject.apiVersion": (event: ApiObject) => textAt(event, "involvedObject.apiVersion"),
  "involvedObject.resourceVersion": (event: ApiObject) => textAt(event, "involvedObject.resourceVersion"),
  "involvedObject.fieldPath": (event: ApiObject) => textAt(event, "involvedObject.fieldPath"),
  reason: (event: ApiObject) => textAt(event, "reason"),
  reportingComponent: (event: ApiObject) => textAt(event, "reportingComponent"),
  source: (event: ApiObject) => textAt(event, "source.component"),
  type: (event: ApiObject) => textAt(event, "type"),
};

/** events.k8s.io names the same fields otherwise. */
const regardingFields = Object.fromEntries(
  Object.entries(eventFields).map(([path, read]) => [
    path.replace("involvedObject", "regarding").replace("reportingComponent", "reportingController"),
    read,
  ]),
);

/**
 * Every kind that is served. Storage prefixes are kube-apiserver's, so that it can take over the same data. Workload and
 * policy kinds are stored and watched as objects; no controller here acts on them.
 */
export const kinds: readonly Kind[] = [
  row("", "Namespace", "namespaces", {
    namespaced: false,
    shortNames: ["ns"],
    subresources: ["status", "finalize"],
    columns: [name, field("Status", "status.phase"), age],
    selectableFields: { "status.phase": (namespace) => textAt(namespace, "status.phase") },
    applyDefaults: rules.defaultNamespace,
  }),
  row("", "Node", "nodes", {
    namespaced: false,
    shortNames: ["no"],
    storagePrefix: "minions",
    subresources: ["status", "proxy"],
    // A kubelet registers itself with what it knows about its machine.
    createsStatus: true,
    columns: nodeColumns,
    selectableFields: { "spec.unschedulable": (node) => textAt(node, "spec.unschedulable") || "false" },
  }),
  row("", "Pod", "pods", {
    namespaced: true,
    shortNames: ["po"],
    categories: ["all"],
    subresources: ["status", "binding", "eviction", "log", "exec", "attach", "portforward", "ephemeralcontainers"],
    columns: podColumns,
    selectableFields: podFields,
    applyDefaults: rules.defaultPod,
    validate: rules.validatePod,
  }),
  row("", "Secret", "secrets", {
    namespaced: true,
    columns: [name, field("Type", "type"), countOf("Data", "data"), age],
    selectableFields: { type: (secret) => textAt(secret, "type") },
    applyDefaults: rules.defaultSecret,
    validate: rules.validateSecret,
  }),
  row("", "ConfigMap", "configmaps", {
    namespaced: true,
    shortNames: ["cm"],
    columns: [name, countOf("Data", "data"), age],
    validate: rules.validateConfigMap,
  }),
  row("", "Service", "services", {
    namespaced: true,
    shortNames: ["svc"],
    categories: ["all"],
    storagePrefix: "services/specs",
    subresources: ["status", "proxy"],
    columns: serviceColumns,
    selectableFields: {
      "spec.clusterIP": (service) => textAt(service, "spec.clusterIP"),
      "spec.type": (service) => textAt(service, "spec.type"),
    },
    applyDefaults: rules.defaultService,
    validate: rules.validateService,
  }),
  row("", "Endpoints", "endpoints", {
    namespaced: true,
    singular: "endpoints",
    shortNames: ["ep"],
    storagePrefix: "services/endpoints",
    columns: endpointsColumns,
  }),
  row("", "Event", "events", {
    namespaced: true,
    shortNames: ["ev"],
    columns: eventColumns,
    selectableFields: eventFields,
    ttlSeconds: eventTtlSeconds,
  }),
  row("", "ServiceAccount", "serviceaccounts", {
    namespaced: true,
    shortNames: ["sa"],
    subresources: ["token"],
    columns: [name, countOf("Secrets", "secrets"), age],
  }),
  row("", "PersistentVolume", "persistentvolumes", {
    namespaced: false,
    shortNames: ["pv"],
    subresources: ["status"],
    columns: [
      name,
      field("Capacity", "spec.capacity.storage"),
      field("Reclaim Policy", "spec.persistentVolumeReclaimPolicy"),
      field("Status", "status.phase"),
      age,
    ],
  }),
  row("", "PersistentVolumeClaim", "persistentvolumeclaims", {
    namespaced: true,
    shortNames: ["pvc"],
    subresources: ["status"],
    columns: [name, field("Status", "status.phase"), field("Volume", "spec.volumeName"), age],
  }),
  row("", "ReplicationController", "replicationcontrollers", {
    columns: workloadColumns,
    namespaced: true,
    shortNames: ["rc"],
    storagePrefix: "controllers",
    subresources: ["status", "scale"],
    hasGeneration: true,
  }),
  row("", "ResourceQuota", "resourcequotas", { namespaced: true, shortNames: ["quota"], subresources: ["status"] }),
  row("", "LimitRange", "limitranges", {
    namespaced: true,
    shortNames: ["limits"],
    columns: nameAndCreation,
  }),
  row("", "PodTemplate", "podtemplates", { namespaced: true }),

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
  row("events.k8s.io", "Event", "events", {
    namespaced: true,
    shortNames: ["ev"],
    columns: eventColumns,
    selectableFields: regardingFields,
    ttlSeconds: eventTtlSeconds,
    // The same stored objects as the core group's events.
    storedApiVersion: "v1",
    views: { v1: eventsV1 },
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

  row("apps", "Deployment", "deployments", {
    validate: immutable(["spec.selector"]),
    namespaced: true,
    shortNames: ["deploy"],
    categories: ["all"],
    subresources: ["status", "scale"],
    hasGeneration: true,
    columns: [
      name,
      {
        name: "Ready",
        cell: (object) => `${textAt(object, "status.readyReplicas") || 0}/${textAt(object, "spec.replicas") || 0}`,
      },
      field("Up-to-date", "status.updatedReplicas", { fallback: "0" }),
      field("Available", "status.availableReplicas", { fallback: "0" }),
      age,
    ],
  }),
  row("apps", "ReplicaSet", "replicasets", {
    validate: immutable(["spec.selector"]),
    columns: workloadColumns,
    namespaced: true,
    shortNames: ["rs"],
    categories: ["all"],
    subresources: ["status", "scale"],
    hasGeneration: true,
  }),
  row("apps", "StatefulSet", "statefulsets", {
    validate: validateStatefulSet,
    columns: statefulSetColumns,
    namespaced: true,
    shortNames: ["sts"],
    categories: ["all"],
    subresources: ["status", "scale"],
    hasGeneration: true,
  }),
  row("apps", "DaemonSet", "daemonsets", {
    validate: immutable(["spec.selector"]),
    columns: daemonSetColumns,
    namespaced: true,
    shortNames: ["ds"],
    categories: ["all"],
    subresources: ["status"],
    hasGeneration: true,
  }),
  row("apps", "ControllerRevision", "controllerrevisions", { namespaced: true }),
  row("batch", "Job", "jobs", {
    validate: immutable(["spec.selector", "spec.completionMode"]),
    columns: jobColumns,
    namespaced: true,
    categories: ["all"],
    subresources: ["status"],
    hasGeneration: true,
  }),
  row("batch", "CronJob", "cronjobs", {
    columns: cronJobColumns,
    namespaced: true,
    shortNames: ["cj"],
    categories: ["all"],
    subresources: ["status"],
    hasGeneration: true,
  }),
  row("policy", "PodDisruptionBudget", "poddisruptionbudgets", {
    columns: disruptionBudgetColumns,
    namespaced: true,
    shortNames: ["pdb"],
    subresources: ["status"],
    hasGeneration: true,
  }),
  row("networking.k8s.io", "NetworkPolicy", "networkpolicies", {
    columns: networkPolicyColumns,
    namespaced: true,
    shortNames: ["netpol"],
    hasGeneration: true,
  }),
  row("networking.k8s.io", "Ingress", "ingresses", {
    columns: ingressColumns,
    namespaced: true,
    shortNames: ["ing"],
    storagePrefix: "ingress",
    subresources: ["status"],
    hasGeneration: true,
  }),
  row("networking.k8s.io", "IngressClass", "ingressclasses", {
    namespaced: false,
    columns: [name, field("Controller", "spec.controller"), age],
  }),
  row("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscalers", {
    namespaced: true,
    shortNames: ["hpa"],
    categories: ["all"],
    subresources: ["status"],
    columns: [
      name,
      {
        name: "Reference",
        cell: (object) => `${textAt(object, "spec.scaleTargetRef.kind")}/${textAt(object, "spec.scaleTargetRef.name")}`,
      },
      field("MinPods", "spec.minReplicas"),
      field("MaxPods", "spec.maxReplicas"),
      field("Replicas", "status.currentReplicas", { fallback: "0" }),
      age,
    ],
  }),
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
