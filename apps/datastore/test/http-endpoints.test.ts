import { connect } from "node:net";
import { expect, it, vi } from "vitest";
import { JsonObjects } from "../src/gateway/json-objects.ts";
import { runDatastore } from "./running-datastore.ts";

// Seconds of work that a busy machine may stretch.
vi.setConfig({ testTimeout: 60_000 });

const base64 = (value: string): string => Buffer.from(value).toString("base64");

async function post(
  url: string,
  path: string,
  body: unknown,
): Promise<{ status: number; json: Record<string, unknown> }> {
  const response = await fetch(`${url}${path}`, { method: "POST", body: JSON.stringify(body) });
  return { status: response.status, json: (await response.json()) as Record<string, unknown> };
}

/** The status that a request line is answered with, sent as it stands. */
async function statusOfTarget(url: string, target: string): Promise<number> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.write(`GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  let answer = "";
  for await (const chunk of socket) answer += chunk;
  return Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);
}

it("serves etcd's API as JSON, with its statuses and error bodies", async () => {
  const { url } = await runDatastore();
  const put = await post(url, "/v3/kv/put", { key: base64("a"), value: base64("1") });
  expect(put).toMatchObject({ status: 200, json: { header: { revision: "2" } } });
  const get = await post(url, "/v3/kv/range", { key: base64("a"), limit: "5" });
  expect(get.json).toMatchObject({ kvs: [{ key: base64("a"), value: base64("1"), version: "1" }], count: "1" });
  expect(await post(url, "/v3/kv/range", { key: "" })).toEqual({
    status: 400,
    json: { error: "etcdserver: key is not provided", message: "etcdserver: key is not provided", code: 3 },
  });
  expect((await post(url, "/v3/lease/revoke", { ID: "77" })).status).toBe(404);
  expect((await post(url, "/v3/kv/range", { key: 5 })).status).toBe(400);
  expect((await fetch(`${url}/v3/kv/range`)).status).toBe(405);
  expect((await fetch(`${url}/v3/nothing`, { method: "POST", body: "{}" })).status).toBe(404);
});

it("streams a watch as one JSON object a line", async () => {
  const { url } = await runDatastore();
  await post(url, "/v3/kv/put", { key: base64("a"), value: base64("1") });
  const stop = new AbortController();
  const response = await fetch(`${url}/v3/watch`, {
    method: "POST",
    body: JSON.stringify({ create_request: { key: base64("a"), start_revision: "2" } }),
    signal: stop.signal,
  });
  let received = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body!) {
    received += decoder.decode(chunk as Uint8Array, { stream: true });
    if (received.split("\n").length > 2) break;
  }
  stop.abort();
  const [created, events] = received.split("\n").map((line) => (line === "" ? {} : JSON.parse(line)));
  expect(created).toMatchObject({ result: { created: true } });
  expect(events).toMatchObject({ result: { events: [{ kv: { key: base64("a"), mod_revision: "2" } }] } });
});

it("answers health, readiness, version and metrics", async () => {
  const { url } = await runDatastore();
  const text = async (path: string) => (await fetch(`${url}${path}`)).text();
  expect(JSON.parse(await text("/health"))).toEqual({ health: "true", reason: "" });
  expect(await text("/readyz")).toBe("ok\n");
  expect(await text("/readyz?verbose")).toContain("[+]linearizable_read ok");
  expect(JSON.parse(await text("/version"))).toMatchObject({ etcdserver: expect.stringMatching(/^3\.6\./) });
  const metrics = await text("/metrics");
  for (const name of ["process_resident_memory_bytes", "etcd_mvcc_db_total_size_in_bytes", "etcd_server_has_leader"]) {
    expect(metrics).toMatch(new RegExp(`^${name} \\d`, "m"));
  }
});

it("answers request targets that are no URL, and goes on", async () => {
  const { url } = await runDatastore();
  const statuses = [];
  for (const target of ["//", "///", "//[", "http://[x", "*"]) statuses.push(await statusOfTarget(url, target));
  expect(statuses).toEqual([404, 404, 404, 400, 400]);
  expect((await fetch(`${url}/health`)).status).toBe(200);
});

it("cuts a text into its JSON objects, wherever it is cut itself", () => {
  const objects = ['{"a":"}{\\"","b":[{}]}', "{}", '{"c":{"d":1}}'];
  const whole = ` ${objects.join("\n ")} `;
  for (let cut = 0; cut <= whole.length; cut++) {
    const found: string[] = [];
    const splitter = new JsonObjects((text) => found.push(text.trim()));
    splitter.push(whole.slice(0, cut));
    splitter.push(whole.slice(cut));
    expect(found).toEqual(objects);
    expect(splitter.pendingLength).toBe(0);
  }
});
