import { type ApiObject, type Column, fieldAt, listAt, textAt } from "../kinds/kind.ts";
import { humanDuration } from "./duration.ts";

/** Columns as kubectl's printers name and fill them. Source: kubernetes pkg/printers/internalversion. */

export const name: Column = {
  name: "Name",
  description: "Name must be unique within a namespace.",
  cell: (object) => object.metadata.name,
};

export const age: Column = {
  name: "Age",
  description: "Time since the object was created.",
  cell: (object, nowMs) => ageOf(object.metadata.creationTimestamp, nowMs),
};

export const createdAt: Column = {
  name: "Created At",
  cell: (object) => object.metadata.creationTimestamp ?? "",
};

/** A column that shows the value at a path, or `fallback`. */
export function field(title: string, path: string, options: { wide?: boolean; fallback?: string } = {}): Column {
  const column: Column = { name: title, cell: (object) => textAt(object, path) || (options.fallback ?? "<none>") };
  return options.wide ? { ...column, wide: true } : column;
}

/** A column that counts the entries of a map or list. */
export function countOf(title: string, path: string): Column {
  return {
    name: title,
    type: "integer",
    cell: (object) => {
      const value = fieldAt(object, path);
      return Array.isArray(value)
        ? value.length
        : typeof value === "object" && value !== null
          ? Object.keys(value).length
          : 0;
    },
  };
}

export function ageOf(timestamp: string | undefined, nowMs: number): string {
  const at = Date.parse(timestamp ?? "");
  return Number.isNaN(at) ? "<unknown>" : humanDuration(nowMs - at);
}

export const none = "<none>";

export const nodeColumns: readonly Column[] = [
  name,
  { name: "Status", cell: nodeStatus },
  { name: "Roles", cell: nodeRoles },
  age,
  { name: "Version", cell: (node) => textAt(node, "status.nodeInfo.kubeletVersion") },
  { name: "Internal-IP", wide: true, cell: (node) => nodeAddress(node, "InternalIP") },
  { name: "External-IP", wide: true, cell: (node) => nodeAddress(node, "ExternalIP") },
  { name: "OS-Image", wide: true, cell: (node) => textAt(node, "status.nodeInfo.osImage") || "<unknown>" },
  { name: "Kernel-Version", wide: true, cell: (node) => textAt(node, "status.nodeInfo.kernelVersion") || "<unknown>" },
  {
    name: "Container-Runtime",
    wide: true,
    cell: (node) => textAt(node, "status.nodeInfo.containerRuntimeVersion") || "<unknown>",
  },
];

function nodeStatus(node: ApiObject): string {
  const ready = listAt(node, "status.conditions").find((condition) => condition.type === "Ready");
  const parts = [ready === undefined ? "Unknown" : ready.status === "True" ? "Ready" : "NotReady"];
  if (fieldAt(node, "spec.unschedulable") === true) parts.push("SchedulingDisabled");
  return parts.join(",");
}

function nodeRoles(node: ApiObject): string {
  const prefix = "node-role.kubernetes.io/";
  const roles = Object.keys(node.metadata.labels ?? {})
    .filter((label) => label.startsWith(prefix) && label.length > prefix.length)
    .map((label) => label.slice(prefix.length));
  return roles.length === 0 ? none : roles.sort().join(",");
}

function nodeAddress(node: ApiObject, type: string): string {
  return String(listAt(node, "status.addresses").find((address) => address.type === type)?.address ?? none);
}

export const podColumns: readonly Column[] = [
  name,
  {
    name: "Ready",
    cell: (pod) => {
      const statuses = listAt(pod, "status.containerStatuses");
      const ready = statuses.filter((status) => status.ready === true).length;
      return `${ready}/${listAt(pod, "spec.containers").length}`;
    },
  },
  { name: "Status", cell: podStatus },
  {
    name: "Restarts",
    cell: (pod) =>
      String(
        listAt(pod, "status.containerStatuses").reduce((sum, status) => sum + Number(status.restartCount ?? 0), 0),
      ),
  },
  age,
  field("IP", "status.podIP", { wide: true }),
  field("Node", "spec.nodeName", { wide: true }),
  field("Nominated Node", "status.nominatedNodeName", { wide: true }),
  { name: "Readiness Gates", wide: true, cell: () => none },
];

function podStatus(pod: ApiObject): string {
  if (pod.metadata.deletionTimestamp !== undefined) return "Terminating";
  const reason = textAt(pod, "status.reason");
  if (reason !== "") return reason;
  for (const status of listAt(pod, "status.containerStatuses")) {
    const waiting = textAt(status, "state.waiting.reason");
    if (waiting !== "") return waiting;
    const terminated = textAt(status, "state.terminated.reason");
    if (terminated !== "") return terminated;
  }
  return textAt(pod, "status.phase") || "Unknown";
}

export const serviceColumns: readonly Column[] = [
  name,
  field("Type", "spec.type"),
  field("Cluster-IP", "spec.clusterIP"),
  {
    name: "External-IP",
    cell: (service) => {
      const given = fieldAt(service, "spec.externalIPs");
      const external = Array.isArray(given) ? given.map(String) : [];
      const balanced = listAt(service, "status.loadBalancer.ingress").map((entry) =>
        String(entry.ip ?? entry.hostname),
      );
      const all = [...external, ...balanced];
      if (all.length > 0) return all.join(",");
      return textAt(service, "spec.type") === "LoadBalancer" ? "<pending>" : none;
    },
  },
  {
    name: "Port(s)",
    cell: (service) =>
      listAt(service, "spec.ports")
        .map((port) => `${port.port}${port.nodePort ? `:${port.nodePort}` : ""}/${port.protocol ?? "TCP"}`)
        .join(",") || none,
  },
  age,
  { name: "Selector", wide: true, cell: (service) => pairs(fieldAt(service, "spec.selector")) },
];

export const endpointsColumns: readonly Column[] = [
  name,
  {
    name: "Endpoints",
    cell: (endpoints) => {
      const all = listAt(endpoints, "subsets").flatMap((subset) =>
        listAt(subset, "addresses").flatMap((address) => {
          const ports = listAt(subset, "ports");
          return ports.length === 0
            ? [String(address.ip)]
            : ports.map((port) => hostPort(String(address.ip), port.port));
        }),
      );
      return summarise(all);
    },
  },
  age,
];

export const endpointSliceColumns: readonly Column[] = [
  name,
  field("AddressType", "addressType"),
  { name: "Ports", cell: (slice) => summarise(listAt(slice, "ports").map((port) => String(port.port))) },
  {
    name: "Endpoints",
    cell: (slice) =>
      summarise(listAt(slice, "endpoints").flatMap((endpoint) => (endpoint.addresses as string[]) ?? [])),
  },
  age,
];

export const eventColumns: readonly Column[] = [
  {
    name: "Last Seen",
    cell: (event, nowMs) =>
      ageOf(
        textAt(event, "series.lastObservedTime") || textAt(event, "lastTimestamp") || textAt(event, "eventTime"),
        nowMs,
      ),
  },
  field("Type", "type"),
  field("Reason", "reason"),
  {
    name: "Object",
    cell: (event) => {
      const about = (fieldAt(event, "involvedObject") ?? fieldAt(event, "regarding")) as
        | Record<string, unknown>
        | undefined;
      return `${String(about?.kind ?? "").toLowerCase()}/${about?.name ?? ""}`;
    },
  },
  { name: "Message", cell: (event) => (textAt(event, "message") || textAt(event, "note")).trim() },
];

function hostPort(host: string, port: unknown): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** kubectl shows three entries and how many more there are. */
export function summarise(all: readonly string[]): string {
  if (all.length === 0) return none;
  return all.length <= 3 ? all.join(",") : `${all.slice(0, 3).join(",")} + ${all.length - 3} more...`;
}

export function pairs(map: unknown): string {
  const entries = Object.entries((map as Record<string, string> | undefined) ?? {});
  return entries.length === 0 ? none : entries.map(([key, value]) => `${key}=${value}`).join(",");
}
