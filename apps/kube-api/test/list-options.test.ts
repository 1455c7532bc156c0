import { lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseLabelSelector } from "../src/select/label-selector.ts";
import { type RunningApi, startApi } from "./support/running-api.ts";

const configMaps = "/api/v1/namespaces/default/configmaps";

describe("a label selector", () => {
  const unreadable = [
    "a=(b",
    "a in (b",
    "a in b)",
    "a in ()",
    "a>x",
    "a<",
    "a=b c",
    "a in (b c)",
    "a,",
    "=b",
    `a=${"x".repeat(64)}`,
  ];
  it.each(unreadable)("that reads %s is refused", (text) => {
    expect(() => parseLabelSelector(text)).toThrow(expect.objectContaining({ code: 400 }));
  });

  it.each([
    ["a", true],
    ["!a", false],
    ["a=5,c!=d", true],
    ["a in (4,5)", true],
    ["a notin (5)", false],
    ["a>4,a<6", true],
    ["e=", true],
    ["e<1", false],
    ["e in (,x)", true],
  ])("that reads %s is understood", (text, expected) => {
    expect(parseLabelSelector(text)?.({ a: "5", e: "" })).toBe(expected);
  });
});

describe.skipIf(lacks("etcd"))("the options of a list", () => {
  let api: RunningApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api.close());

  it.each([
    ["resourceVersion=abc", 400],
    ["resourceVersion=-1", 400],
    ["limit=abc", 400],
    ["labelSelector=a%3D(b", 400],
    ["watch=true&resourceVersion=abc", 400],
    ["watch=true&timeoutSeconds=abc", 400],
    ["resourceVersionMatch=Exact", 422],
    ["resourceVersionMatch=Sometimes&resourceVersion=1", 422],
    ["resourceVersionMatch=Exact&resourceVersion=0", 422],
    ["resourceVersionMatch=NotOlderThan&resourceVersion=1&continue=a", 422],
    ["sendInitialEvents=true", 422],
    ["watch=true&sendInitialEvents=true", 422],
    ["watch=true&sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=1", 422],
    ["watch=true&resourceVersionMatch=NotOlderThan", 422],
  ])("are refused when they say %s", async (query, code) => {
    const { json } = await api.call("GET", `${configMaps}?${query}`);
    expect(json).toMatchObject({ code, reason: code === 400 ? "BadRequest" : "Invalid" });
  });

  it.each(["Exact", "NotOlderThan"])("say that a version is too large, also for %s", async (match) => {
    const { json, headers } = await api.call(
      "GET",
      `${configMaps}?resourceVersion=999999999&resourceVersionMatch=${match}`,
    );
    expect(json).toMatchObject({ code: 504, reason: "Timeout", message: expect.stringMatching(/^Too large resource/) });
    expect(json.details.causes[0]).toMatchObject({ reason: "ResourceVersionTooLarge" });
    expect(headers["retry-after"]).toBe("1");
  });

  it("name a state of the past exactly, of one object too", async () => {
    const { json } = await api.call("POST", configMaps, { body: { metadata: { name: "past" }, data: { a: "1" } } });
    await api.call("PUT", `${configMaps}/past`, { body: { metadata: { name: "past" }, data: { a: "2" } } });
    const exact = `resourceVersionMatch=Exact&resourceVersion=${json.metadata.resourceVersion}`;
    const list = (await api.call("GET", `${configMaps}?${exact}&fieldSelector=metadata.name%3Dpast`)).json;
    expect(list.items.map(({ data }: { data: object }) => data)).toEqual([{ a: "1" }]);
  });
});
