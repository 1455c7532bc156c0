import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type AdapterServer,
  type BackendServer,
  type EtcdServer,
  lacks,
  startAdapter,
  startBackend,
  startEtcd,
} from "../src/index.ts";

const base64 = (text: string): string => Buffer.from(text).toString("base64");

/** What differs between servers, and the parts of an error that etcd 3.4 and 3.6 say differently. */
function comparable(json: unknown): unknown {
  const text = JSON.stringify(json, (name, value) =>
    ["cluster_id", "member_id", "raft_term", "details"].includes(name) ? undefined : value,
  );
  return JSON.parse(text);
}

async function post(url: string, path: string, body: string): Promise<{ status: number; json: unknown }> {
  const response = await fetch(`${url}${path}`, { method: "POST", body });
  return { status: response.status, json: comparable(await response.json()) };
}

/** Posts the whole body at once, as `curl -d` does, and reads until `lines` lines have come. */
async function stream(url: string, path: string, body: string, lines: number, onFirst: () => Promise<unknown>) {
  const stop = new AbortController();
  const response = await fetch(`${url}${path}`, { method: "POST", body, signal: stop.signal });
  let received = "";
  const found: unknown[] = [];
  for await (const chunk of response.body!) {
    received += Buffer.from(chunk as Uint8Array).toString();
    const complete = received.split("\n");
    received = complete.pop()!;
    if (found.length === 0 && complete.length > 0) await onFirst();
    found.push(...complete.map((line) => comparable(JSON.parse(line))));
    if (found.length >= lines) break;
  }
  stop.abort();
  return { status: response.status, lines: found };
}

/** Unary requests in an order that makes each find something. */
const requests: [path: string, body: string][] = [
  ["/v3/kv/put", JSON.stringify({ key: base64("a"), value: base64("1") })],
  ["/v3/kv/put", JSON.stringify({ key: base64("a"), value: base64("2"), prev_kv: true })],
  ["/v3beta/kv/range", JSON.stringify({ key: base64("a") })],
  ["/v3/kv/range", JSON.stringify({ key: base64("a"), rangeEnd: base64("b"), limit: 1, sort_order: "DESCEND" })],
  ["/v3/kv/range", JSON.stringify({ key: base64("nothing") })],
  ["/v3/kv/range", JSON.stringify({ key: base64("a"), revision: "99" })],
  ["/v3/kv/range", "{}"],
  [
    "/v3/kv/txn",
    JSON.stringify({
      compare: [{ key: base64("a"), target: "VERSION", result: "EQUAL", version: "2" }],
      success: [{ request_put: { key: base64("b"), value: base64("x") } }, { requestRange: { key: base64("a") } }],
    }),
  ],
  ["/v3/kv/txn", JSON.stringify({ success: [{ request_delete_range: { key: base64("b"), prev_kv: true } }] })],
  ["/v3/kv/deleterange", JSON.stringify({ key: base64("b") })],
  ["/v3/lease/grant", JSON.stringify({ ID: "77", TTL: "600" })],
  ["/v3/lease/grant", JSON.stringify({ ID: 77, TTL: 600 })],
  ["/v3/kv/put", JSON.stringify({ key: base64("leased"), value: base64("x"), lease: "77" })],
  ["/v3/lease/leases", "{}"],
  ["/v3/kv/lease/revoke", JSON.stringify({ ID: 77 })],
  ["/v3/lease/revoke", JSON.stringify({ ID: 77 })],
  ["/v3/kv/compaction", JSON.stringify({ revision: "3" })],
  ["/v3/kv/compaction", JSON.stringify({ revision: "3" })],
  ["/v3/auth/authenticate", JSON.stringify({ name: "a", password: "b" })],
];

/** grpc-gateway of etcd 3.6 and newer, whose release we follow, maps FailedPrecondition to 400; 3.4 to 412. */
const newerStatuses = new Map([[412, 400]]);

describe.skipIf(lacks("etcd"))("the JSON gateway answers as etcd's", { timeout: 60_000 }, () => {
  let etcd: EtcdServer;
  let store: BackendServer;
  let adapter: AdapterServer;

  beforeAll(async () => {
    etcd = await startEtcd();
    store = await startBackend("sqlite");
    adapter = await startAdapter(store.freshEndpoint());
  });
  afterAll(async () => {
    await adapter.process.stop();
    await store.close();
    await etcd.close();
  });

  it.each(requests)("%s %s", async (path, body) => {
    const [expected, actual] = await Promise.all([post(etcd.url, path, body), post(adapter.url, path, body)]);
    const status = newerStatuses.get(expected.status) ?? expected.status;
    expect(actual).toEqual({ ...expected, status });
  });

  it("/v3/watch: events of two watches in one body, one JSON object a line", async () => {
    const watchAt = async (url: string) => {
      const key = base64("watched");
      const put = (value: string) => post(url, "/v3/kv/put", JSON.stringify({ key, value: base64(value) }));
      const create = { key, prev_kv: true };
      const body = `${JSON.stringify({ create_request: create })}\n${JSON.stringify({ createRequest: { ...create, filters: ["NOPUT"], watch_id: 7 } })}`;
      return stream(url, "/v3/watch", body, 5, async () => {
        await put("1");
        await put("2");
        await post(url, "/v3/kv/deleterange", JSON.stringify({ key }));
      });
    };
    const [expected, actual] = await Promise.all([watchAt(etcd.url), watchAt(adapter.url)]);
    // The order between two watches is nobody's promise.
    const byWatch = (lines: unknown[]): unknown =>
      Map.groupBy(lines as { result: { watch_id?: string } }[], ({ result }) => result.watch_id ?? "0");
    expect(actual.status).toBe(expected.status);
    expect(byWatch(actual.lines)).toEqual(byWatch(expected.lines));
  });

  it("/v3/watch: the end of a watch at a compacted revision, and a range that is empty", async () => {
    const body = [
      { create_request: { key: base64("a"), start_revision: "2" } },
      { create_request: { key: base64("b"), range_end: base64("a") } },
    ]
      .map((request) => JSON.stringify(request))
      .join("");
    const watchAt = (url: string) => stream(url, "/v3/watch", body, 3, async () => {});
    const [expected, actual] = await Promise.all([watchAt(etcd.url), watchAt(adapter.url)]);
    const sorted = (lines: unknown[]): string[] => lines.map((line) => JSON.stringify(line)).sort();
    expect(sorted(actual.lines)).toEqual(sorted(expected.lines));
  });

  it("/v3/lease/keepalive: one answer per request in the body", async () => {
    const keepAliveAt = async (url: string) => {
      await post(url, "/v3/lease/grant", JSON.stringify({ ID: "88", TTL: "600" }));
      return stream(url, "/v3/lease/keepalive", '{"ID":"88"}{"ID":"99"}', 2, async () => {});
    };
    const [expected, actual] = await Promise.all([keepAliveAt(etcd.url), keepAliveAt(adapter.url)]);
    expect(actual).toEqual(expected);
  });
});
