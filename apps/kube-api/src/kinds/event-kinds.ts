import { eventColumns } from "../table/columns.ts";
import { type ApiObject, type Kind, textAt } from "./kind.ts";
import { row } from "./row.ts";
import { eventsV1 } from "./versions.ts";

/** How long events live, in seconds. Source: kube-apiserver --event-ttl. */
const eventTtlSeconds = 3_600;

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

/** Events, by their old and their new name. */
export const eventKinds: readonly Kind[] = [
  row("", "Event", "events", {
    namespaced: true,
    shortNames: ["ev"],
    columns: eventColumns,
    selectableFields: eventFields,
    ttlSeconds: eventTtlSeconds,
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
];
