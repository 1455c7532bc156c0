import { age, field, name } from "../table/columns.ts";
import {
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
import { type Kind, textAt } from "./kind.ts";
import { row } from "./row.ts";

/** What runs, how many of it, and who may reach it. */
export const workloadKinds: readonly Kind[] = [
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
];
