import {
  age,
  countOf,
  endpointsColumns,
  field,
  name,
  nodeColumns,
  podColumns,
  serviceColumns,
} from "../table/columns.ts";
import { workloadColumns } from "../table/workload-columns.ts";
import { type ApiObject, type Kind, textAt } from "./kind.ts";
import { nameAndCreation, row } from "./row.ts";
import * as rules from "./rules.ts";

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

/** The core group, without events. */
export const coreKinds: readonly Kind[] = [
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
];
