import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { type AnyCodec, authService, type MethodDescriptor, services } from "@keelson/protocol/etcd";
import fc from "fast-check";
import protobuf from "protobufjs";
import { describe, expect, it } from "vitest";

/** Our message tables beside the .proto files that the etcd3 package brings, read by protobufjs: field by field, byte by byte. */

const protos = join(dirname(createRequire(import.meta.url).resolve("etcd3/package.json")), "proto");
const root = protobuf.loadSync(join(protos, "rpc.proto"));

const methods = [
  ...Object.values(services).flatMap((service) => Object.values(service) as unknown as MethodDescriptor[]),
  ...(authService as unknown as MethodDescriptor[]),
];
/** etcd3's files are older than the newest fields and leave some services out. */
const known = new Map(
  methods
    .flatMap(({ request, response }) => [request, response])
    .flatMap((codec): [string, { codec: AnyCodec; type: protobuf.Type }][] => {
      const type = root.nested?.etcdserverpb ? lookUp(codec.name) : undefined;
      return type === undefined ? [] : [[codec.name, { codec, type }]];
    }),
);

function lookUp(name: string): protobuf.Type | undefined {
  try {
    return root.lookupType(name);
  } catch {
    return undefined; // newer than etcd3's files
  }
}

const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array));
const scalars: Record<string, fc.Arbitrary<unknown>> = {
  int64: fc.maxSafeInteger(),
  counter: fc.maxSafeNat(),
  lease: fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
  uint64: fc.bigInt(0n, 2n ** 64n - 1n),
  uint32: fc.nat({ max: 0xffff_ffff }),
  bool: fc.boolean(),
  bytes,
  string: fc.string({ unit: "grapheme", maxLength: 20 }),
  enum: fc.nat({ max: 1 }),
};

/** A message with the fields that both sides know. */
function arbitrary(codec: AnyCodec, type: protobuf.Type, depth: number): fc.Arbitrary<Record<string, unknown>> {
  const fields: Record<string, fc.Arbitrary<unknown>> = {};
  let hasOneOf = false;
  for (const [key, field] of Object.entries(codec.fields)) {
    const counterpart = type.fieldsById[field.number];
    if (counterpart === undefined) continue;
    // Of a oneof only one member, so that no order of writing matters.
    if (counterpart.partOf !== null && counterpart.partOf !== undefined) {
      if (hasOneOf) continue;
      hasOneOf = true;
    }
    let one: fc.Arbitrary<unknown>;
    if (typeof field.type !== "function") one = scalars[field.type]!;
    else if (depth === 0) continue;
    else one = arbitrary(field.type(), counterpart.resolve().resolvedType as protobuf.Type, depth - 1);
    if (field.repeated) fields[key] = fc.array(one, { maxLength: 3 });
    else if (typeof field.type === "function") fields[key] = fc.option(one, { nil: undefined });
    else fields[key] = one;
  }
  return fc.record(fields);
}

describe("the etcd messages and protobufjs", () => {
  it("agree about most messages at all", () => {
    expect(known.size).toBeGreaterThan(70);
  });

  it.each([...known])("%s", (_, { codec, type }) => {
    for (const [key, field] of Object.entries(codec.fields)) {
      const counterpart = type.fieldsById[field.number];
      if (counterpart === undefined) continue;
      expect(counterpart.repeated, key).toBe(field.repeated ?? false);
    }
    fc.assert(
      fc.property(arbitrary(codec, type, 3), (message) => {
        const encoded = codec.encode(message as never);
        // What protobufjs reads out of our bytes and writes again, we read back as the same message.
        const rewritten = Buffer.from(type.encode(type.decode(encoded)).finish());
        expect(codec.decode(rewritten)).toEqual(codec.decode(encoded));
      }),
      { numRuns: 25 },
    );
  });
});
