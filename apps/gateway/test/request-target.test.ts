import fc from "fast-check";
import { expect, test } from "vitest";
import { parseTarget } from "../src/http/path.ts";

test.each([
  ["/v1-k3s/config", { kind: "path", path: "/v1-k3s/config", query: "" }],
  ["/api?watch=1&x=%2f..", { kind: "path", path: "/api", query: "watch=1&x=%2f.." }],
  ["https://host:6443/api/v1?a=b", { kind: "path", path: "/api/v1", query: "a=b" }],
  ["//v1-k3s/config", { kind: "redirect", location: "/v1-k3s/config" }],
  ["/static/..%2f..%2ftoken", { kind: "redirect", location: "/token" }],
  ["/a/./b/../c/?q", { kind: "redirect", location: "/a/c/?q" }],
  ["/.hidden", { kind: "path", path: "/.hidden", query: "" }],
  ["/api/v1/namespaces/a%2Fb", { kind: "path", path: "/api/v1/namespaces/a%2Fb", query: "" }],
  ["/%zz", { kind: "malformed" }],
  ["/a%00b", { kind: "malformed" }],
  ["*", { kind: "malformed" }],
  ["", { kind: "malformed" }],
])("%s", (url, expected) => {
  expect(parseTarget(url)).toEqual(expected);
});

test("a redirect always leads to a path that is not redirected again", () => {
  const segment = fc.constantFrom("", ".", "..", "a", "%2e", "%2F", "%25", "b%20c", "é");
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 8 }), (segments) => {
      const first = parseTarget(`/${segments.join("/")}`);
      if (first.kind === "redirect") expect(parseTarget(first.location)).toMatchObject({ kind: "path" });
    }),
  );
});
