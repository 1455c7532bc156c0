import { lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningApi, startApi, WatchReader } from "./support/running-api.ts";

const configMaps = "/api/v1/namespaces/default/configmaps";

describe.skipIf(lacks("etcd"))("watches", () => {
  let api: RunningApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api.close());

  const create = async (name: string, labels: Record<string, string> = {}, data: Record<string, string> = {}) =>
    (await api.call("POST", configMaps, { body: { metadata: { name, labels }, data } })).json;
  const patch = async (name: string, body: object) =>
    (
      await api.call("PATCH", `${configMaps}/${name}`, {
        body,
        headers: { "content-type": "application/merge-patch+json" },
      })
    ).json;
  const watch = async (query: string): Promise<WatchReader> =>
    new WatchReader(await api.open(`${configMaps}?watch=true&${query}`));
  const seen = async (reader: WatchReader) => {
    const { type, object } = await reader.next();
    return [type, object.metadata.name];
  };

  it("go on after a resource version without a gap or a repeat", async () => {
    const { metadata } = await create("w1");
    const early = await watch(`resourceVersion=${metadata.resourceVersion}`);
    await create("w2");
    await patch("w1", { data: { a: "1" } });
    await api.call("DELETE", `${configMaps}/w2`);
    const expected = [
      ["ADDED", "w2"],
      ["MODIFIED", "w1"],
      ["DELETED", "w2"],
    ];
    for (const each of expected) expect(await seen(early)).toEqual(each);
    // One that starts in the past sees the same.
    const late = await watch(`resourceVersion=${metadata.resourceVersion}`);
    for (const each of expected) expect(await seen(late)).toEqual(each);
    early.close();
    late.close();
  });

  it("share what they see, wherever each of a crowd begins", async () => {
    const starts: number[] = [Number((await create("crowd")).metadata.resourceVersion)];
    for (let index = 0; index < 20; index++) {
      starts.push(Number((await patch("crowd", { data: { index: String(index) } })).metadata.resourceVersion));
    }
    const query = "fieldSelector=metadata.name%3Dcrowd&resourceVersion=";
    // Later starts first, so that each next one is older than what is shared already.
    const readers = await Promise.all(starts.toReversed().map((start) => watch(`${query}${start}`)));
    const last = Number((await patch("crowd", { data: { index: "last" } })).metadata.resourceVersion);
    for (const [place, reader] of readers.entries()) {
      const seenVersions: number[] = [];
      while (seenVersions.at(-1) !== last)
        seenVersions.push(Number((await reader.next()).object.metadata.resourceVersion));
      expect(seenVersions).toEqual([...starts.slice(starts.length - place), last]);
      reader.close();
    }
  });

  it("show an object come and go with its labels", async () => {
    const { metadata } = await create("labelled", { app: "no" });
    const reader = await watch(`labelSelector=app%3Dyes&resourceVersion=${metadata.resourceVersion}`);
    await patch("labelled", { metadata: { labels: { app: "yes" } } });
    expect(await seen(reader)).toEqual(["ADDED", "labelled"]);
    await patch("labelled", { metadata: { labels: { app: "no" } } });
    expect(await seen(reader)).toEqual(["DELETED", "labelled"]);
    reader.close();
  });

  it("begin with what there is, then say so", async () => {
    await create("initial", { set: "initial" });
    const query =
      "labelSelector=set%3Dinitial&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    const reader = await watch(query);
    expect(await seen(reader)).toEqual(["ADDED", "initial"]);
    const bookmark = await reader.next();
    expect(bookmark).toMatchObject({
      type: "BOOKMARK",
      object: { kind: "ConfigMap", metadata: { annotations: { "k8s.io/initial-events-end": "true" } } },
    });
    await create("later", { set: "initial" });
    expect(await seen(reader)).toEqual(["ADDED", "later"]);
    reader.close();
  });

  it("end after the time that was asked for", async () => {
    const reader = await watch("timeoutSeconds=1&resourceVersion=0&labelSelector=none%3Dsuch");
    expect(await reader.next()).toBeUndefined();
  });

  it("say 410 when their version is compacted, and 504 when it is still to come", async () => {
    const { metadata } = await create("compacted");
    for (let index = 0; index < 3; index++) await patch("compacted", { data: { index: String(index) } });
    const current = (await api.call("GET", configMaps)).json.metadata.resourceVersion;
    await fetch(`${api.etcd.url}/v3/kv/compaction`, { method: "POST", body: JSON.stringify({ revision: current }) });
    // A kind that nobody follows yet: the changes that a shared watch has kept outlive the compaction.
    const events = await api.open(`/api/v1/events?watch=true&resourceVersion=${Number(metadata.resourceVersion)}`);
    const reader = new WatchReader(events);
    expect(await reader.next()).toMatchObject({ type: "ERROR", object: { code: 410, reason: "Expired" } });
    reader.close();
    const future = await api.call("GET", `${configMaps}?resourceVersion=999999999`);
    expect(future.json).toMatchObject({ code: 504, reason: "Timeout" });
    const token = Buffer.from(JSON.stringify({ v: 1, rv: 2, start: "a" })).toString("base64url");
    expect((await api.call("GET", `${configMaps}?limit=1&continue=${token}`)).status).toBe(410);
  });

  it("give rows of a table, column names once", async () => {
    const { metadata } = await create("rows", {}, { a: "1" });
    const table = { accept: "application/json;as=Table;v=v1;g=meta.k8s.io" };
    const stream = await api.open(`${configMaps}?watch=true&resourceVersion=${metadata.resourceVersion}`, {
      headers: table,
    });
    const reader = new WatchReader(stream);
    await patch("rows", { data: { b: "2" } });
    await patch("rows", { data: { c: "3" } });
    const first = await reader.next();
    expect(first.object).toMatchObject({ kind: "Table", rows: [{ cells: ["rows", 2, expect.any(String)] }] });
    expect(first.object.columnDefinitions.map((column: { name: string }) => column.name)).toEqual([
      "Name",
      "Data",
      "Age",
    ]);
    expect((await reader.next()).object.columnDefinitions).toEqual([]);
    reader.close();
  });
});
