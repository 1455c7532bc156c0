import { type ApiObject, apiVersionOf, type Kind } from "./kind.ts";

/** A served version whose shape differs from what is stored. Both directions make a new object. */
export interface View {
  fromStored(object: ApiObject): ApiObject;
  toStored(object: ApiObject): ApiObject;
}

/** The apiVersion under which objects of a kind are stored. */
export function storedApiVersion(kind: Kind): string {
  return kind.storedApiVersion ?? apiVersionOf(kind.group, kind.versions[0]!);
}

/** A stored object in the version a client asked for. */
export function inVersion(object: ApiObject, kind: Kind, version: string): ApiObject {
  const apiVersion = apiVersionOf(kind.group, version);
  if (apiVersion === object.apiVersion) return object;
  const view = kind.views?.[version];
  return { ...(view === undefined ? object : view.fromStored(object)), apiVersion };
}

/** An object of any version, as it came from a client or from a datastore that another release wrote, ready to be stored. */
export function toStored(object: ApiObject, kind: Kind): ApiObject {
  const apiVersion = storedApiVersion(kind);
  if (object.apiVersion === apiVersion) return object;
  const view = kind.views?.[object.apiVersion.split("/").at(-1)!];
  return { ...(view === undefined ? object : view.toStored(object)), apiVersion };
}

const zoneLabel = "topology.kubernetes.io/zone";

interface Endpoint {
  zone?: string;
  topology?: Record<string, string>;
  deprecatedTopology?: Record<string, string>;
}

/** discovery.k8s.io/v1beta1 tells an endpoint's zone as a topology label. Source: kubernetes pkg/apis/discovery/v1beta1. */
export const endpointSliceV1Beta1: View = {
  fromStored: (slice) =>
    withEndpoints(slice, ({ zone, deprecatedTopology, ...endpoint }) => {
      const topology = { ...deprecatedTopology, ...(zone === undefined ? {} : { [zoneLabel]: zone }) };
      return Object.keys(topology).length === 0 ? endpoint : { ...endpoint, topology };
    }),
  toStored: (slice) =>
    withEndpoints(slice, ({ topology, ...endpoint }) => {
      const { [zoneLabel]: zone, ...rest } = topology ?? {};
      return {
        ...endpoint,
        ...(zone === undefined ? {} : { zone }),
        ...(Object.keys(rest).length === 0 ? {} : { deprecatedTopology: rest }),
      };
    }),
};

function withEndpoints(slice: ApiObject, change: (endpoint: Endpoint) => Endpoint): ApiObject {
  return Array.isArray(slice.endpoints) ? { ...slice, endpoints: slice.endpoints.map(change) } : slice;
}

/** core/v1 name -> events.k8s.io/v1 name: two views of one stored object. Source: kubernetes pkg/apis/events/v1. */
const eventFields: readonly (readonly [core: string, events: string])[] = [
  ["involvedObject", "regarding"],
  ["message", "note"],
  ["source", "deprecatedSource"],
  ["firstTimestamp", "deprecatedFirstTimestamp"],
  ["lastTimestamp", "deprecatedLastTimestamp"],
  ["count", "deprecatedCount"],
  ["reportingComponent", "reportingController"],
];

export const eventsV1: View = {
  fromStored: (event) => renamed(event, new Map(eventFields)),
  toStored: (event) => renamed(event, new Map(eventFields.map(([core, events]) => [events, core]))),
};

function renamed(object: ApiObject, names: ReadonlyMap<string, string>): ApiObject {
  return Object.fromEntries(
    Object.entries(object).map(([name, value]) => [names.get(name) ?? name, value]),
  ) as ApiObject;
}
