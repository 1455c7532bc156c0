import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fieldsOf, fromFieldsV1, mergeApplied, removeAt, toFieldsV1 } from "../src/patch/field-set.ts";
import { applyJsonPatch } from "../src/patch/json-patch.ts";
import { applyMergePatch } from "../src/patch/merge-patch.ts";
import { applyStrategicMergePatch } from "../src/patch/strategic-merge-patch.ts";
import { apiSchema } from "../src/schema/kinds.ts";

const pod = apiSchema().find("core.Pod")!;
const service = apiSchema().find("core.Service")!;

/** Objects with the shapes that matter: maps, keyed lists, sets and atomic lists. */
const podLike = fc.record(
  {
    metadata: fc.record(
      {
        labels: fc.dictionary(fc.constantFrom("a", "b"), fc.string()),
        finalizers: fc.uniqueArray(fc.constantFrom("x/1", "x/2")),
      },
      { requiredKeys: [] },
    ),
    spec: fc.record(
      {
        nodeName: fc.string({ minLength: 1 }),
        containers: fc.uniqueArray(
          fc.record({ name: fc.constantFrom("one", "two", "three"), image: fc.string(), args: fc.array(fc.string()) }),
          { selector: ({ name }) => name },
        ),
      },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: [] },
);

describe("a merge patch", () => {
  it("follows the examples of RFC 7386", () => {
    expect(applyMergePatch({ a: "b" }, { a: "c" })).toEqual({ a: "c" });
    expect(applyMergePatch({ a: { b: "c" } }, { a: { b: "d", c: null } })).toEqual({ a: { b: "d" } });
    expect(applyMergePatch({ a: [1] }, { a: { b: { c: null } } })).toEqual({ a: { b: {} } });
    expect(applyMergePatch({ a: "b" }, ["c"])).toEqual(["c"]);
  });
});

describe("a JSON patch", () => {
  it("adds, moves, copies and tests", () => {
    const patched = applyJsonPatch({ a: [1, 3], "b/c": 1 }, [
      { op: "add", path: "/a/1", value: 2 },
      { op: "add", path: "/a/-", value: 4 },
      { op: "test", path: "/b~1c", value: 1 },
      { op: "move", from: "/b~1c", path: "/d" },
      { op: "copy", from: "/a/0", path: "/e" },
    ]);
    expect(patched).toEqual({ a: [1, 2, 3, 4], d: 1, e: 1 });
  });

  it("that can be read and does not apply is invalid (422), one that cannot be read is a bad request (400)", () => {
    const refused = (patch: unknown) => {
      try {
        return applyJsonPatch({ a: 1 }, patch);
      } catch (error) {
        return error;
      }
    };
    const unfit = { code: 422, reason: "Invalid", message: expect.stringContaining("the server rejected our request") };
    expect(refused([{ op: "test", path: "/a", value: 2 }])).toMatchObject(unfit);
    expect(refused([{ op: "remove", path: "/b" }])).toMatchObject(unfit);
    expect(refused([{ op: "jump", path: "/a" }])).toMatchObject({ code: 400 });
    expect(refused({ op: "test" })).toMatchObject({ code: 400 });
  });

  it("refuses what does not fit, and never reaches a prototype", () => {
    const bad = [
      [{ op: "remove", path: "/x" }],
      [{ op: "replace", path: "/a/5", value: 1 }],
      [{ op: "test", path: "/a", value: 2 }],
      [{ op: "add", path: "a", value: 1 }],
      [{ op: "jump", path: "/a" }],
      [{ op: "add", path: "/__proto__/polluted", value: 1 }],
      [{ op: "add", path: "/constructor/prototype/polluted", value: 1 }],
      "text",
    ];
    for (const patch of bad) expect(() => applyJsonPatch({ a: [1] }, patch), JSON.stringify(patch)).toThrow();
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

describe("a strategic merge patch", () => {
  const containers = (...names: string[]) => ({ spec: { containers: names.map((name) => ({ name, image: "i" })) } });

  it("merges lists by key, deletes entries and keeps the order it is given", () => {
    const patch = {
      spec: {
        $setElementOrder: undefined,
        "$setElementOrder/containers": [{ name: "c" }, { name: "a" }],
        containers: [
          { name: "b", $patch: "delete" },
          { name: "c", image: "new" },
        ],
      },
    };
    expect(applyStrategicMergePatch(containers("a", "b"), patch, pod)).toEqual({
      spec: {
        containers: [
          { name: "c", image: "new" },
          { name: "a", image: "i" },
        ],
      },
    });
  });

  it("replaces lists without a key, and unites sets", () => {
    const target = { spec: { tolerations: [{ key: "a" }] }, metadata: { finalizers: ["x/1"] } };
    const patch = { spec: { tolerations: [{ key: "b" }] }, metadata: { finalizers: ["x/2"] } };
    expect(applyStrategicMergePatch(target, patch, pod)).toEqual({
      spec: { tolerations: [{ key: "b" }] },
      metadata: { finalizers: ["x/1", "x/2"] },
    });
  });

  it("leaves an object as it is when the patch says what it says", () => {
    fc.assert(
      fc.property(podLike, (object) => {
        expect(applyStrategicMergePatch(object, object, pod)).toEqual(object);
      }),
    );
  });
});

describe("the fields of an apply", () => {
  it("survive their stored form", () => {
    fc.assert(
      fc.property(podLike, (object) => {
        const fields = fieldsOf(object, pod);
        expect([...fromFieldsV1(toFieldsV1(fields)).keys()].sort()).toEqual([...fields.keys()].sort());
      }),
    );
  });

  it("are all that is there after an apply on nothing, and nothing is left when all are taken away", () => {
    fc.assert(
      fc.property(podLike, (object) => {
        const merged = mergeApplied({}, object, pod);
        expect(merged).toEqual(object);
        for (const path of fieldsOf(object, pod).values()) removeAt(merged, path, pod);
        expect([...fieldsOf(merged, pod).keys()].filter((key) => key.includes("f:containers"))).toEqual([]);
      }),
    );
  });

  it("tell ports apart by number and protocol", () => {
    const live = { spec: { ports: [{ port: 53, protocol: "UDP", name: "u" }] } };
    const applied = { spec: { ports: [{ port: 53, name: "t" }] } };
    expect(mergeApplied(live, applied, service)).toEqual({
      spec: {
        ports: [
          { port: 53, protocol: "UDP", name: "u" },
          { port: 53, name: "t" },
        ],
      },
    });
  });
});
