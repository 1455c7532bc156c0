import { apiVersionOf, type Kind } from "../kinds/kind.ts";
import { type Message, Schema } from "./message.ts";
import { accessMessages } from "./messages/access.ts";
import { clusterMessages } from "./messages/cluster.ts";
import { coreMessages } from "./messages/core.ts";
import { metaMessages } from "./messages/meta.ts";
import { swaggerMessages } from "./messages/swagger.ts";
import { volumeMessages } from "./messages/volumes.ts";
import { workloadMessages } from "./messages/workloads.ts";

let parsed: Schema | undefined;

/** The schema of all kinds; parsed on first use, since most servers never speak protobuf or OpenAPI. */
export function apiSchema(): Schema {
  parsed ??= new Schema([
    metaMessages,
    coreMessages,
    volumeMessages,
    workloadMessages,
    clusterMessages,
    accessMessages,
    swaggerMessages,
  ]);
  return parsed;
}

/** The message of a kind in one of its versions. */
export function messageOf(kind: Kind, version: string): Message | undefined {
  const name = messageName(apiVersionOf(kind.group, version), kind.kind);
  return name === undefined ? undefined : apiSchema().find(name);
}

/** Messages that belong to no group but may stand in a body of any. */
const metaKinds = new Set(["Status", "DeleteOptions", "WatchEvent", "PartialObjectMetadata"]);

/** The name of a kind's message: `core.Pod`, `discovery-v1beta1.EndpointSlice`. Undefined for an apiVersion we cannot read. */
export function messageName(apiVersion: string, kind: string): string | undefined {
  if (metaKinds.has(kind)) return `meta.${kind}`;
  const [group, version] = apiVersion.includes("/")
    ? (apiVersion.split("/") as [string, string])
    : ["core", apiVersion];
  const section = group.split(".")[0]!;
  const name = `${version === "v1" ? section : `${section}-${version}`}.${kind}`;
  return apiSchema().find(name) === undefined ? undefined : name;
}
