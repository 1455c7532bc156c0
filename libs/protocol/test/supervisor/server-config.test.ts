import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addressBytes,
  addressInRange,
  compareCriticalConfig,
  formatAddress,
  fromGoCidr,
  type ServerConfig,
  toGoCidr,
  toGoPortRange,
} from "../../src/supervisor/index.ts";

const exchange = readFileSync(
  new URL("../../../../conformance/vectors/supervisor-exchange.jsonl", import.meta.url),
  "utf8",
);
const recorded = exchange
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => JSON.parse(line) as { path?: string; status?: number; responseBody?: { text?: string } })
  .find(({ path, status }) => path === "/v1-k3s/config" && status === 200);
const stock = JSON.parse(recorded!.responseBody!.text!) as ServerConfig;

describe("the configuration that stock K3s sends", () => {
  it("has the encodings that ours has", () => {
    expect(toGoCidr("10.42.0.0/16")).toEqual(stock.ClusterIPRange);
    expect([toGoCidr("10.43.0.0/16")]).toEqual(stock.ServiceIPRanges);
    expect(toGoPortRange("30000-32767")).toEqual(stock.ServiceNodePortRange);
    expect(addressInRange("10.43.0.0/16", 10)).toBe(stock.ClusterDNS);
  });

  it("agrees with itself, whatever fields an older release does not have", () => {
    expect(compareCriticalConfig({ ...stock, EgressSelectorMode: "agent" }, stock)).toEqual([]);
    expect(compareCriticalConfig(stock, { ...stock, EgressSelectorMode: "" })).toEqual([]);
  });

  it("is compared field by field, and the field that differs is named", () => {
    const theirs = {
      ...stock,
      ClusterIPRange: toGoCidr("10.52.0.0/16"),
      DisableKubeProxy: true,
      FlannelBackend: "vxlan",
    };
    expect(compareCriticalConfig(stock, theirs)).toEqual([
      { field: "ClusterIPRange", ours: "10.42.0.0/16", theirs: "10.52.0.0/16" },
      { field: "FlannelBackend", ours: "none", theirs: "vxlan" },
    ]);
  });
});

describe("addresses", () => {
  it("read and write IPv6 as RFC 5952 says", () => {
    const cases = {
      "fd00:0:0::1": "fd00::1",
      "::": "::",
      "1:0:0:2:0:0:0:3": "1:0:0:2::3",
      "::ffff:192.0.2.1": "::ffff:c000:201",
    };
    for (const [text, short] of Object.entries(cases)) expect(formatAddress(addressBytes(text)!)).toBe(short);
    expect(toGoCidr("fd00:43::7/112").IP).toBe("fd00:43::");
    expect(addressInRange("fd00:43::/112", 1)).toBe("fd00:43::1");
    expect(addressInRange("10.43.0.255/24", 300)).toBe("10.43.1.44");
  });

  it("round-trip, and are refused when they are none", () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
        const bytes = addressBytes(text)!;
        expect(addressBytes(formatAddress(bytes))!.equals(bytes)).toBe(true);
      }),
    );
    fc.assert(
      fc.property(
        fc.string(),
        (text) => (addressBytes(text) === undefined) === (isIP(text) === 0 || text.includes("%")),
      ),
    );
    for (const text of ["10.0.0.0/33", "x/8", "10.0.0/8", "::/129", ""])
      expect(() => toGoCidr(text), text).toThrow(RangeError);
    expect(fromGoCidr(toGoCidr("192.168.7.0/25"))).toBe("192.168.7.0/25");
    for (const text of ["1-99999", "5-4", "x"]) expect(() => toGoPortRange(text), text).toThrow(RangeError);
  });
});
