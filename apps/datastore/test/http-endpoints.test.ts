import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
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
  const future = await post(url, "/v3/kv/range", { key: base64("a"), revision: "9223372036854775807" });
  expect(future.json).toMatchObject({ code: 11, message: expect.stringContaining("future revision") });
  const lease = await post(url, "/v3/lease/grant", { TTL: "9223372036854775807" });
  expect(lease.json).toMatchObject({ code: 11, message: expect.stringContaining("too large lease TTL") });
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

/** A request over HTTP/2 that is no gRPC. */
function request2(session: ClientHttp2Session, headers: Record<string, string>, body?: string) {
  const stream = session.request({ ":method": body === undefined ? "GET" : "POST", ...headers });
  stream.setEncoding("utf8");
  if (body !== undefined) stream.write(body);
  return stream;
}

async function answer2(session: ClientHttp2Session, headers: Record<string, string>, body?: string) {
  const stream = request2(session, headers, body);
  stream.end();
  const [head] = await once(stream, "response");
  let text = "";
  for await (const chunk of stream) text += chunk;
  return { status: head[":status"], type: head["content-type"], text };
}

it("serves the same over HTTP/2, which clients choose by themselves where there is TLS", async () => {
  const { url } = await runDatastore();
  const session = connectHttp2(url);
  try {
    expect(await answer2(session, { ":path": "/health" })).toEqual({
      status: 200,
      type: "application/json",
      text: '{"health":"true","reason":""}',
    });
    expect((await answer2(session, { ":path": "/metrics" })).text).toContain("etcd_server_has_leader 1");
    expect(await answer2(session, { ":path": "/health", ":method": "HEAD" })).toMatchObject({ status: 200, text: "" });
    expect((await answer2(session, { ":path": "/nothing" })).status).toBe(404);
    expect((await answer2(session, { ":path": "//[" })).status).toBe(404);
    const put = JSON.stringify({ key: base64("a"), value: base64("1") });
    const answer = await answer2(session, { ":path": "/v3/kv/put" }, put);
    expect(answer).toMatchObject({ status: 200, type: "application/json" });
    expect(JSON.parse(answer.text)).toMatchObject({ header: { revision: "2" } });
    expect((await answer2(session, { ":path": "/v3/kv/range" }, '{"key":5}')).status).toBe(400);
  } finally {
    session.destroy();
  }
});

it("streams a watch over HTTP/2, and ends it with the client's stream", async () => {
  const { url } = await runDatastore();
  const session = connectHttp2(url);
  try {
    const create = JSON.stringify({ create_request: { key: base64("a") } });
    const stream = request2(session, { ":path": "/v3/watch" }, create);
    const [created] = await once(stream, "data");
    expect(JSON.parse(created)).toMatchObject({ result: { created: true } });
    const next = once(stream, "data");
    await post(url, "/v3/kv/put", { key: base64("a"), value: base64("1") });
    const [event] = await next;
    expect(JSON.parse(event)).toMatchObject({ result: { events: [{ kv: { mod_revision: "2" } }] } });
    stream.destroy();
    const watches = async () =>
      /^etcd_debugging_mvcc_watcher_total (\d+)/m.exec((await answer2(session, { ":path": "/metrics" })).text);
    await vi.waitFor(async () => expect((await watches())?.[1]).toBe("0"), { timeout: 10_000 });
  } finally {
    session.destroy();
  }
});

it("answers a JSON body that is too large instead of breaking it off", async () => {
  const { url } = await runDatastore();
  const { status, json } = await post(url, "/v3/kv/put", { key: base64("a"), value: "A".repeat(4 << 20) });
  expect(status).toBe(429);
  expect(json).toMatchObject({ code: 8 });
});

it("refuses transactions within transactions without end", async () => {
  const { url } = await runDatastore();
  const depth = 20_000;
  const body = `${'{"success":[{"request_txn":'.repeat(depth)}{}${"}]}".repeat(depth)}`;
  const response = await fetch(`${url}/v3/kv/txn`, { method: "POST", body });
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ code: 3, message: "the request is nested too deeply" });
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
