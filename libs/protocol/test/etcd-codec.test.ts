import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type AnyCodec,
  authService,
  DecodeError,
  etcdErrors,
  fromJson,
  grpcStatus,
  keyValue,
  type MethodDescriptor,
  RpcError,
  rangeRequest,
  services,
  toJson,
  txnRequest,
  watchResponse,
} from "../src/etcd/index.ts";

const methods: MethodDescriptor[] = [
  ...Object.values(services).flatMap((service) => Object.values(service) as MethodDescriptor[]),
  ...(authService as unknown as MethodDescriptor[]),
];
const codecs = new Map(
  methods.flatMap(({ request, response }) => [request, response]).map((codec) => [codec.name, codec]),
);

/** An arbitrary message of a codec, as deep as `depth`. */
function arbitrary(codec: AnyCodec, depth = 2): fc.Arbitrary<Record<string, unknown>> {
  const fields: Record<string, fc.Arbitrary<unknown>> = {};
  for (const [key, field] of Object.entries(codec.fields)) {
    const one =
      typeof field.type === "function"
        ? depth === 0
          ? fc.constant(undefined)
          : arbitrary(field.type(), depth - 1)
        : scalars[field.type]!;
    if (field.repeated)
      fields[key] = depth === 0 && typeof field.type === "function" ? fc.constant([]) : fc.array(one, { maxLength: 3 });
    else fields[key] = field.optional || typeof field.type === "function" ? fc.option(one, { nil: undefined }) : one;
  }
  return fc.record(fields);
}

const bytes = fc.uint8Array({ maxLength: 20 }).map((array) => Buffer.from(array));
const safe = fc.maxSafeInteger();
const scalars: Record<string, fc.Arbitrary<unknown>> = {
  int64: safe,
  counter: safe.map(Math.abs),
  lease: fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
  uint64: fc.bigInt(0n, 2n ** 64n - 1n),
  uint32: fc.nat({ max: 0xffff_ffff }),
  bool: fc.boolean(),
  bytes,
  string: fc.string({ unit: "grapheme", maxLength: 20 }),
  enum: fc.nat({ max: 2 }),
};

describe("the etcd codec", () => {
  it("reads back what it wrote, for every message of every method", () => {
    for (const codec of codecs.values()) {
      fc.assert(
        fc.property(arbitrary(codec), (message) => {
          expect(codec.decode(codec.encode(message as never))).toEqual(message);
        }),
        { numRuns: 20 },
      );
    }
  });

  it("gives back the same message through JSON", () => {
    for (const codec of [rangeRequest, txnRequest, watchResponse]) {
      fc.assert(
        fc.property(arbitrary(codec), (message) => {
          const json = JSON.parse(JSON.stringify(toJson<unknown>(codec, message)));
          expect(fromJson<unknown>(codec, json)).toEqual(message);
        }),
        { numRuns: 30 },
      );
    }
  });

  it("answers arbitrary bytes with a message or a DecodeError, nothing else", () => {
    for (const codec of codecs.values()) {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 64 }), (input) => {
          try {
            codec.decode(input);
          } catch (error) {
            expect(error).toBeInstanceOf(DecodeError);
          }
        }),
        { numRuns: 60 },
      );
    }
  });

  it("has the bytes of etcd's own encoder", () => {
    // PutRequest-shaped bytes made by clientv3 for `etcdctl put a b`: field 1 "a", field 2 "b".
    expect(services.kv.put.request.encode({ key: Buffer.from("a"), value: Buffer.from("b") }).toString("hex")).toBe(
      "0a0161120162",
    );
    expect(rangeRequest.encode({ key: Buffer.from("k"), limit: -1 }).toString("hex")).toBe(
      "0a016b18ffffffffffffffffff01",
    );
    expect(
      keyValue.encode({ key: Buffer.from("k"), modRevision: 300, lease: 0x7fff_ffff_ffff_ffffn }).toString("hex"),
    ).toBe("0a016b18ac0230ffffffffffffffff7f");
  });

  it("refuses what protobuf refuses", () => {
    for (const hex of ["0a", "0a05 61", "08 01", "18 ffffffffffffffffffff", "03", "07"]) {
      expect(() => rangeRequest.decode(Buffer.from(hex.replaceAll(" ", ""), "hex")), hex).toThrow(DecodeError);
    }
    // An unknown field of any legal wire type is skipped.
    expect(rangeRequest.decode(Buffer.from("a20601780a0161", "hex")).key.toString()).toBe("a");
    let deep: Buffer = Buffer.alloc(0);
    for (let level = 0; level < 200; level++) deep = nest(deep);
    expect(() => txnRequest.decode(deep)).toThrow(DecodeError);
  });
});

/** Wraps encoded transactions: field 2 (success) holding field 4 (request_txn). */
function nest(inner: Buffer): Buffer {
  const delimited = (tag: number, content: Buffer): Buffer => {
    const length: number[] = [];
    for (let rest = content.length; ; rest >>>= 7) {
      if (rest < 0x80) {
        length.push(rest);
        break;
      }
      length.push((rest & 0x7f) | 0x80);
    }
    return Buffer.concat([Buffer.from([tag, ...length]), content]);
  };
  return delimited(0x12, delimited(0x22, inner));
}

describe("the JSON gateway's mapping", () => {
  it("uses proto names, strings for 64 bits, base64, enum names, and leaves zeros out", () => {
    const message = watchResponse.decode(
      watchResponse.encode({
        watchId: 7,
        events: [
          { type: 1, kv: { key: Buffer.from("k"), modRevision: 5 } },
          { kv: { key: Buffer.from("l"), lease: 9n } },
        ],
      }),
    );
    expect(toJson(watchResponse, message)).toEqual({
      watch_id: "7",
      events: [{ type: "DELETE", kv: { key: "aw==", mod_revision: "5" } }, { kv: { key: "bA==", lease: "9" } }],
    });
    expect(
      toJson(services.lease.grant.response, services.lease.grant.response.decode(Buffer.from("10051801", "hex"))),
    ).toEqual({ ID: "5", TTL: "1" });
  });

  it("takes both spellings, numbers and strings, names and numbers", () => {
    const request = fromJson(rangeRequest, {
      range_end: "AA==",
      sortOrder: "DESCEND",
      sort_target: 3,
      limit: "5",
      unknown: {},
    });
    expect(request).toMatchObject({ sortOrder: 2, sortTarget: 3, limit: 5 });
    expect(request.rangeEnd).toEqual(Buffer.from([0]));
    for (const bad of [{ key: 5 }, { limit: "x" }, { serializable: "yes" }, { sort_order: "UP" }, [], "text"]) {
      expect(() => fromJson(rangeRequest, bad)).toThrow(RpcError);
    }
  });
});

describe("errors", () => {
  it("carry etcd's code and text", () => {
    expect(etcdErrors.compacted()).toMatchObject({
      code: grpcStatus.outOfRange,
      message: "etcdserver: mvcc: required revision has been compacted",
    });
  });
});
