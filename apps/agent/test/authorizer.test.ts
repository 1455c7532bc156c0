import { describe, expect, test } from "vitest";
import { type AllowedTargets, parseTarget, refusalOf } from "../src/tunnel/authorizer.ts";

const podNetwork: AllowedTargets = { allows: (ip) => ip.startsWith("10.42.0.") };

function refusal(address: string, protocol = "tcp", allowed?: AllowedTargets): string | undefined {
  return refusalOf(protocol, parseTarget(address), 10_250, allowed);
}

describe("what a server may reach through an agent", () => {
  test.each(["127.0.0.1:10250", "[::1]:10250", "127.0.0.1:10010"])("%s always", (address) => {
    expect(refusal(address)).toBeUndefined();
  });

  test("pod addresses where the mode allows them", () => {
    expect(refusal("10.42.0.7:8443", "tcp", podNetwork)).toBeUndefined();
    expect(refusal("10.42.0.7:8443")).toContain("not allowed");
  });

  test.each(["127.0.0.1:22", "10.0.0.1:10250", "localhost:10250", "example.com:443", "127.0.0.1", "127.0.0.1:0", ""])(
    "%j never",
    (address) => {
      expect(refusal(address, "tcp", podNetwork)).toBeDefined();
    },
  );

  test("loopback is not opened by an address table", () => {
    expect(refusal("127.0.0.1:22", "tcp", { allows: () => true })).toBeDefined();
  });

  test("other protocols are refused", () => {
    expect(refusal("127.0.0.1:10250", "udp")).toBe("protocol udp is not allowed");
  });
});
