import { rangeRequest, rangeResponse, txnRequest, txnResponse } from "@keelson/protocol/etcd";
import { describe, expect, it } from "vitest";
import { Latencies } from "../src/datastore/latencies.ts";
import * as requests from "../src/datastore/requests.ts";

describe("the load's requests", () => {
  it("are etcd messages with the key, the revision and the sequence number filled in", () => {
    const update = txnRequest.decode(requests.update.fill(42, 123_456, 7));
    expect(update.compare[0]).toMatchObject({ modRevision: 123_456, key: Buffer.from(`${requests.prefix}00000042`) });
    expect(update.success[0]?.requestPut?.key.toString()).toBe(`${requests.prefix}00000042`);
    expect(update.success[0]?.requestPut?.value.toString()).toMatch(/^seq:00000007v+$/);
    expect(update.success[0]?.requestPut?.value).toHaveLength(1_024);
    expect(update.failure[0]?.requestRange?.key.toString()).toBe(`${requests.prefix}00000042`);
    expect(rangeRequest.decode(requests.get.fill(99_999_999)).key.toString()).toBe(`${requests.prefix}99999999`);
  });

  it("read what they need from answers", () => {
    const header = { clusterId: 2n ** 63n, memberId: 5n, revision: 77_777, raftTerm: 2 };
    expect(requests.readHeader(txnResponse.encode({ header, succeeded: true }))).toEqual({
      succeeded: true,
      revision: 77_777,
    });
    expect(requests.readHeader(txnResponse.encode({ header }))).toEqual({ succeeded: false, revision: 77_777 });
    const kvs = [3, 4].map((index) => ({
      key: Buffer.from(`${requests.prefix}0000000${index}`),
      value: Buffer.alloc(50, "v"),
    }));
    expect(requests.readPage(rangeResponse.encode({ header, kvs, more: true, count: 5_000 }))).toEqual({
      lastIndex: 4,
      more: true,
      revision: 77_777,
    });
    expect(requests.readPage(rangeResponse.encode({ header, kvs, count: 2 })).more).toBe(false);
  });
});

describe("latencies", () => {
  it("give exact percentiles", () => {
    const latencies = new Latencies();
    for (let ms = 100_000; ms >= 1; ms--) latencies.add(ms);
    expect([latencies.percentile(0.5), latencies.percentile(0.99), latencies.percentile(1)]).toEqual([
      50_000, 99_000, 100_000,
    ]);
    expect(new Latencies().percentile(0.99)).toBe(0);
  });
});
