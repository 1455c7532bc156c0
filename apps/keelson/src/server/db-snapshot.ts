import { type Answer, accepted, refused } from "@keelson/protocol/supervisor";
import { KeelsonError } from "@keelson/service";
import type { Snapshot } from "../etcd/snapshots/snapshot-name.ts";
import type { SnapshotService } from "../etcd/snapshots/snapshot-service.ts";

/** What `/db/snapshot` reads of its body; K3s's other fields (object store, folder) are this server's own options. */
interface SnapshotRequest {
  operation?: unknown;
  /** Base name of a new snapshot, base name of those to prune, or the names of those to delete. */
  name?: unknown;
  compress?: unknown;
  retention?: unknown;
}

type Snapshots = Pick<SnapshotService, "save" | "list" | "prune" | "delete">;

/** Carries out a request of `POST /db/snapshot`: `{"operation": "save" | "list" | "prune" | "delete", "name": […], …}`. */
export async function snapshotRequest(snapshots: Snapshots, requestJson: string): Promise<Answer<string>> {
  const request = parse(requestJson);
  if (request === undefined) return refused(400, "snapshot/invalid", "the body must be a JSON object");
  const names = Array.isArray(request.name) ? request.name.filter((name) => typeof name === "string") : [];
  const base = names[0] === undefined ? {} : { base: names[0] };
  try {
    switch (request.operation) {
      case "save": {
        const compress = typeof request.compress === "boolean" ? { compress: request.compress } : {};
        return result({ created: namesOf(await snapshots.save({ ...base, ...compress })) });
      }
      case "list":
        return accepted(`${JSON.stringify(snapshotList(await snapshots.list()))}\n`);
      case "prune": {
        const keep = typeof request.retention === "number" ? { keep: request.retention } : {};
        return result({ deleted: namesOf(await snapshots.prune({ ...base, ...keep })) });
      }
      case "delete":
        for (const name of names) await snapshots.delete(name);
        return result({ deleted: names });
      default:
        return refused(400, "snapshot/operation", "the operation must be save, list, prune or delete");
    }
  } catch (error) {
    if (!(error instanceof KeelsonError)) throw error;
    return refused(400, error.code, error.message, error.hint === undefined ? {} : { hint: error.hint });
  }
}

function parse(json: string): SnapshotRequest | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function result(document: { created?: string[]; deleted?: string[] }): Answer<string> {
  return accepted(`${JSON.stringify(document)}\n`);
}

function namesOf(snapshots: readonly Snapshot[]): string[] {
  return [...new Set(snapshots.map(({ name }) => name))];
}

/** The list as K3s's objects of kind ETCDSnapshotFile. */
function snapshotList(snapshots: readonly Snapshot[]): object {
  const apiVersion = "k3s.cattle.io/v1";
  const items = snapshots.map(({ name, nodeName, location, sizeBytes, createdAtMs }) => ({
    apiVersion,
    kind: "ETCDSnapshotFile",
    metadata: { name },
    spec: { snapshotName: name, nodeName, location },
    status: { size: String(sizeBytes), creationTime: new Date(createdAtMs).toISOString(), readyToUse: true },
  }));
  return { apiVersion, kind: "ETCDSnapshotFileList", metadata: {}, items };
}
