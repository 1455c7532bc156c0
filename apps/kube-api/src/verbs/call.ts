import type { IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "@keelson/service";
import type { NodeRestriction } from "../auth/node-restriction.ts";
import type { User } from "../auth/user.ts";
import type { Format } from "../http/content.ts";
import type { ResourceRequest } from "../http/request-info.ts";
import type { KindCatalog } from "../kinds/catalog.ts";
import type { ApiObject, Kind } from "../kinds/kind.ts";
import type { ObjectId, ObjectStore } from "../storage/object-store.ts";
import type { WatchHub } from "../storage/watch-hub.ts";

/** What every verb works with. */
export interface ApiContext {
  catalog: KindCatalog;
  store: ObjectStore;
  hub: WatchHub;
  clock: Clock;
  nodeRestriction: NodeRestriction;
  /** Gives a Service its address, and takes it back. */
  clusterIps: { assign(service: ApiObject): Promise<void> };
}

/** One authenticated, authorized request for a resource. */
export interface Call {
  context: ApiContext;
  info: ResourceRequest;
  kind: Kind;
  user: User;
  request: IncomingMessage;
  response: ServerResponse;
  format: Format;
}

/** The object that the URL names. */
export function idOf({ info, kind }: Call): ObjectId {
  return { kind, namespace: kind.namespaced ? info.namespace : undefined, name: info.name ?? "" };
}
