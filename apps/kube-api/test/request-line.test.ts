import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseRequest } from "../src/http/request-info.ts";

const what = (method: string, url: string) => {
  const info = parseRequest(method, url);
  if (info === undefined || !info.isResource) return info?.path;
  const { verb, group, version, resource, namespace, name, subresource, rest } = info;
  return [verb, `${group}/${version}`, resource, namespace, name, subresource, rest];
};

describe("a request line", () => {
  it("says what is asked", () => {
    expect(what("GET", "/api/v1/pods")).toEqual(["list", "/v1", "pods", undefined, undefined, undefined, ""]);
    expect(what("GET", "/api/v1/pods?watch=1")).toEqual(["watch", "/v1", "pods", undefined, undefined, undefined, ""]);
    expect(what("GET", "/api/v1/watch/nodes/a")).toEqual(["watch", "/v1", "nodes", undefined, "a", undefined, ""]);
    const pod = ["/v1", "pods", "ns", "p"];
    expect(what("DELETE", "/api/v1/namespaces/ns/pods/p")).toEqual(["delete", ...pod, undefined, ""]);
    expect(what("POST", "/api/v1/namespaces/ns/pods/p/exec?command=a")).toEqual(["connect", ...pod, "exec", ""]);
    expect(what("PATCH", "/apis/apps/v1/namespaces/ns/deployments/d/status")).toEqual([
      "patch",
      "apps/v1",
      "deployments",
      "ns",
      "d",
      "status",
      "",
    ]);
    expect(what("PUT", "/api/v1/namespaces/ns/finalize")).toEqual([
      "update",
      "/v1",
      "namespaces",
      undefined,
      "ns",
      "finalize",
      "",
    ]);
    expect(what("GET", "/api/v1/nodes/a/proxy/stats/summary")).toEqual([
      "connect",
      "/v1",
      "nodes",
      undefined,
      "a",
      "proxy",
      "stats/summary",
    ]);
    expect(what("GET", "/apis/apps/v1")).toBe("/apis/apps/v1");
    expect(what("GET", "//evil.example/api/v1/pods")).toBe("//evil.example/api/v1/pods");
  });

  it("never breaks the parser, whatever it holds", () => {
    fc.assert(
      fc.property(fc.constantFrom("GET", "POST", "BREW"), fc.string(), fc.webPath(), (method, text, path) => {
        parseRequest(method, text);
        parseRequest(method, `/api/v1/${path}`);
        parseRequest(method, `/apis/${text}`);
      }),
    );
    expect(parseRequest("GET", "/api/v1/pods/%zz")).toBeUndefined();
    expect(parseRequest("GET", "http://[")).toBeUndefined();
  });
});
