import { connect } from "node:http2";
import { GrpcConnection } from "@keelson/etcd-client";
import {
  type Input,
  services,
  type WatchRequest,
  type WatchResponse,
  watchRequest,
  watchResponse,
} from "@keelson/protocol/etcd";
import { expect, it, onTestFinished, vi } from "vitest";
import { frameMessage } from "../src/server/rpc.ts";
import { bytes, runDatastore, text } from "./running-datastore.ts";

// Seconds of work that a busy machine may stretch.
vi.setConfig({ testTimeout: 60_000 });

/** One raw Watch stream and everything it received. */
async function openWatch(url: string) {
  const connection = new GrpcConnection(url, undefined);
  onTestFinished(() => connection.close());
  const responses: WatchResponse[] = [];
  const call = await connection.stream(services.watch.watch.path, {
    onMessage: (message) => responses.push(watchResponse.decode(Buffer.from(message))),
    onEnd() {},
  });
  const send = (request: Input<WatchRequest>): void => call.send(watchRequest.encode(request));
  const events = () => responses.flatMap((response) => response.events);
  return { send, responses, events };
}

const everything = { key: bytes("\0"), rangeEnd: bytes("\0") };

/** How long a condition may take on a machine that is busy with something else. */
const patiently = { timeout: 15_000 };

it("delivers history and live events once, in order, with whole revisions together", async () => {
  const { url, client } = await runDatastore();
  for (let round = 0; round < 25; round++) {
    const keys = Array.from({ length: 100 }, (_, at) => bytes(`k${at % 7}`));
    await Promise.all(keys.map((key) => client.put({ key, value: bytes(String(round)) })));
  }
  await client.put({ key: bytes("last"), value: bytes("of history") });
  const watch = await openWatch(url);
  watch.send({ createRequest: { ...everything, startRevision: 2, prevKv: true } });
  await client.txn({
    success: ["x", "y", "z"].map((key) => ({ requestPut: { key: bytes(key), value: bytes("1") } })),
  });
  await expect.poll(() => watch.events().length, patiently).toBe(2_504);
  const revisions = watch.events().map((event) => event.kv!.modRevision);
  expect(revisions).toEqual(revisions.toSorted((a, b) => a - b));
  expect(new Set(revisions).size).toBe(2_502);
  const last = watch.responses.at(-1)!;
  expect(last.events.slice(-3).map((event) => text(event.kv!.key))).toEqual(["x", "y", "z"]);
  for (const { header, events } of watch.responses) {
    for (const event of events) expect(event.kv!.modRevision).toBeLessThanOrEqual(header!.revision);
  }
});

it("never sends an event at or below a revision it has announced as progress", async () => {
  const { url, client } = await runDatastore();
  const watch = await openWatch(url);
  watch.send({ createRequest: { key: bytes("a"), rangeEnd: bytes("b") } });
  const writes = Array.from({ length: 300 }, async (_, at) => {
    await client.put({ key: bytes(at % 2 === 0 ? "a" : "z"), value: bytes(String(at)) });
    watch.send({ progressRequest: {} });
  });
  await Promise.all(writes);
  await expect.poll(() => watch.events().length, patiently).toBe(150);
  await expect.poll(() => watch.responses.some(({ watchId }) => watchId === -1), patiently).toBe(true);
  let announced = 0;
  for (const { header, events } of watch.responses) {
    for (const event of events) expect(event.kv!.modRevision).toBeGreaterThan(announced);
    announced = Math.max(announced, header!.revision);
  }
});

it("cancels a watch that starts below the compacted revision, and serves one that starts at it", async () => {
  const { url, client } = await runDatastore();
  for (let at = 0; at < 5; at++) await client.put({ key: bytes("a"), value: bytes(String(at)) });
  await client.deleteRange({ key: bytes("a") });
  await client.compact({ revision: 7, physical: true });
  const watch = await openWatch(url);
  watch.send({ createRequest: { ...everything, startRevision: 6 } });
  watch.send({ createRequest: { ...everything, startRevision: 7, prevKv: true } });
  await expect.poll(() => watch.responses.length, patiently).toBe(4);
  expect(watch.responses.find(({ watchId, canceled }) => watchId === 0 && canceled)).toMatchObject({
    compactRevision: 7,
  });
  const [deletion] = watch.events();
  expect(deletion).toMatchObject({ type: 1, kv: { modRevision: 7 } });
  expect(deletion!.prevKv).toBeUndefined();
});

it("keeps other watches going while one client does not read, which catches up later", async () => {
  const { url, client } = await runDatastore();
  // A raw client that grants the server no window beyond the first 64 KiB, until it is told to.
  const session = connect(url, { settings: { initialWindowSize: 65_535 } });
  onTestFinished(() => session.destroy());
  const stuck = session.request({
    ":method": "POST",
    ":path": services.watch.watch.path,
    "content-type": "application/grpc",
  });
  let received = 0;
  stuck.write(frameMessage(watchRequest.encode({ createRequest: everything })));
  const quick = await openWatch(url);
  quick.send({ createRequest: everything });
  await expect.poll(() => quick.responses.length, patiently).toBe(1);
  const value = Buffer.alloc(200_000, 1);
  for (let at = 0; at < 40; at++) await client.put({ key: bytes("k"), value });
  await expect.poll(() => quick.events().length, patiently).toBe(40);
  expect(received).toBe(0);
  stuck.on("data", (chunk: Buffer) => (received += chunk.length));
  await expect.poll(() => received, patiently).toBeGreaterThan(40 * value.length);
});

it("holds ten thousand idle watches without slowing writes", async () => {
  const { url, client } = await runDatastore();
  const watch = await openWatch(url);
  for (let at = 0; at < 10_000; at++) {
    watch.send({ createRequest: { key: bytes(`/idle/${at}/`), rangeEnd: bytes(`/idle/${at}0`) } });
  }
  await expect.poll(() => watch.responses.length, patiently).toBe(10_000);
  await Promise.all(
    Array.from({ length: 500 }, (_, at) => client.put({ key: bytes(`/busy/${at}`), value: bytes("1") })),
  );
  await client.put({ key: bytes("/idle/77/x"), value: bytes("1") });
  await expect.poll(() => watch.events().length, patiently).toBe(1);
  expect(watch.responses.at(-1)!.watchId).toBe(77);
});
