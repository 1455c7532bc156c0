import { type ApiObject, type Column, fieldAt, listAt, textAt } from "../kinds/kind.ts";
import { age, ageOf, field, name, none, pairs, summarise } from "./columns.ts";

/** Columns of workloads and of what governs them. Source: kubernetes pkg/printers/internalversion. */

export const workloadColumns: readonly Column[] = [
  name,
  field("Desired", "spec.replicas", { fallback: "0" }),
  field("Current", "status.replicas", { fallback: "0" }),
  field("Ready", "status.readyReplicas", { fallback: "0" }),
  age,
];

export const statefulSetColumns: readonly Column[] = [
  name,
  {
    name: "Ready",
    cell: (set) => `${textAt(set, "status.readyReplicas") || 0}/${textAt(set, "spec.replicas") || 0}`,
  },
  age,
];

export const daemonSetColumns: readonly Column[] = [
  name,
  field("Desired", "status.desiredNumberScheduled", { fallback: "0" }),
  field("Current", "status.currentNumberScheduled", { fallback: "0" }),
  field("Ready", "status.numberReady", { fallback: "0" }),
  field("Up-to-date", "status.updatedNumberScheduled", { fallback: "0" }),
  field("Available", "status.numberAvailable", { fallback: "0" }),
  { name: "Node Selector", cell: (set) => pairs(fieldAt(set, "spec.template.spec.nodeSelector")) },
  age,
];

export const jobColumns: readonly Column[] = [
  name,
  {
    name: "Status",
    cell: (job) => {
      const holds = (type: string): boolean =>
        listAt(job, "status.conditions").some((condition) => condition.type === type && condition.status === "True");
      return holds("Complete") ? "Complete" : holds("Failed") ? "Failed" : holds("Suspended") ? "Suspended" : "Running";
    },
  },
  {
    name: "Completions",
    cell: (job) => `${textAt(job, "status.succeeded") || 0}/${textAt(job, "spec.completions") || 1}`,
  },
  age,
];

export const cronJobColumns: readonly Column[] = [
  name,
  field("Schedule", "spec.schedule"),
  field("Timezone", "spec.timeZone"),
  { name: "Suspend", cell: (job) => (fieldAt(job, "spec.suspend") === true ? "True" : "False") },
  { name: "Active", type: "integer", cell: (job) => listAt(job, "status.active").length },
  { name: "Last Schedule", cell: (job, nowMs) => lastSchedule(textAt(job, "status.lastScheduleTime"), nowMs) },
  age,
];

function lastSchedule(time: string, nowMs: number): string {
  return time === "" ? none : ageOf(time, nowMs);
}

export const ingressColumns: readonly Column[] = [
  name,
  field("Class", "spec.ingressClassName"),
  {
    name: "Hosts",
    cell: (ingress) =>
      summarise(listAt(ingress, "spec.rules").flatMap((rule) => (rule.host ? [String(rule.host)] : []))).replace(
        none,
        "*",
      ),
  },
  {
    name: "Address",
    cell: (ingress) =>
      listAt(ingress, "status.loadBalancer.ingress")
        .map((entry) => String(entry.ip ?? entry.hostname))
        .join(","),
  },
  { name: "Ports", cell: (ingress) => (listAt(ingress, "spec.tls").length > 0 ? "80, 443" : "80") },
  age,
];

export const bindingColumns: readonly Column[] = [
  name,
  { name: "Role", cell: (binding) => `${textAt(binding, "roleRef.kind")}/${textAt(binding, "roleRef.name")}` },
  age,
  { name: "Users", wide: true, cell: (binding) => subjectsOf(binding, "User") },
  { name: "Groups", wide: true, cell: (binding) => subjectsOf(binding, "Group") },
  { name: "ServiceAccounts", wide: true, cell: (binding) => subjectsOf(binding, "ServiceAccount") },
];

function subjectsOf(binding: ApiObject, kind: string): string {
  return listAt(binding, "subjects")
    .filter((subject) => subject.kind === kind)
    .map(({ namespace, name: subject }) => (namespace === undefined ? String(subject) : `${namespace}/${subject}`))
    .join(", ");
}

export const networkPolicyColumns: readonly Column[] = [
  name,
  { name: "Pod-Selector", cell: (policy) => pairs(fieldAt(policy, "spec.podSelector.matchLabels")) },
  age,
];

export const disruptionBudgetColumns: readonly Column[] = [
  name,
  field("Min Available", "spec.minAvailable", { fallback: "N/A" }),
  field("Max Unavailable", "spec.maxUnavailable", { fallback: "N/A" }),
  field("Allowed Disruptions", "status.disruptionsAllowed", { fallback: "0" }),
  age,
];
