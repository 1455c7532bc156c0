import { KeelsonError } from "@keelson/service";
import { expect, it } from "vitest";
import { snapshotRequest } from "../src/server/db-snapshot.ts";

const snapshot = {
  name: "on-demand-server-1-1700000000",
  nodeName: "server-1",
  location: "file:///snapshots/on-demand-server-1-1700000000",
  sizeBytes: 4_096,
  createdAtMs: 1_700_000_000_000,
  compressed: false,
};

function service() {
  const calls: unknown[] = [];
  return {
    calls,
    async save(options: object) {
      calls.push(["save", options]);
      return [snapshot, { ...snapshot, location: "s3://bucket/on-demand" }];
    },
    async list() {
      return [snapshot];
    },
    async prune(options: object) {
      calls.push(["prune", options]);
      return [snapshot];
    },
    async delete(name: string) {
      calls.push(["delete", name]);
      if (name === "gone") throw new KeelsonError("snapshot/unknown", 'there is no snapshot "gone"');
    },
  };
}

it("carries out what a snapshot request asks for and names what came of it", async () => {
  const snapshots = service();
  const ask = async (request: object) => {
    const answer = await snapshotRequest(snapshots, JSON.stringify(request));
    return answer.ok ? JSON.parse(answer.value) : answer.refusal;
  };
  expect(await ask({ operation: "save", name: ["nightly"], compress: true })).toEqual({ created: [snapshot.name] });
  expect(await ask({ operation: "prune", retention: 2 })).toEqual({ deleted: [snapshot.name] });
  expect(await ask({ operation: "delete", name: ["a", "b"] })).toEqual({ deleted: ["a", "b"] });
  expect(snapshots.calls).toEqual([
    ["save", { base: "nightly", compress: true }],
    ["prune", { keep: 2 }],
    ["delete", "a"],
    ["delete", "b"],
  ]);
  const list = await ask({ operation: "list" });
  expect(list.items).toEqual([
    expect.objectContaining({
      kind: "ETCDSnapshotFile",
      spec: { snapshotName: snapshot.name, nodeName: "server-1", location: snapshot.location },
      status: { size: "4096", creationTime: "2023-11-14T22:13:20.000Z", readyToUse: true },
    }),
  ]);
  expect(await ask({ operation: "delete", name: ["gone"] })).toMatchObject({ status: 400, code: "snapshot/unknown" });
  expect(await ask({ operation: "restore" })).toMatchObject({ status: 400 });
  expect(await snapshotRequest(snapshots, "[")).toMatchObject({ refusal: { status: 400 } });
});
