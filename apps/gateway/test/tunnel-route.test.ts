import { describe, expect, test } from "vitest";
import {
  type AddressTable,
  type EgressMode,
  parseAuthority,
  type RoutedNode,
  routeOf,
} from "../src/tunnel/egress/route.ts";

const plain: RoutedNode = { name: "plain", kubeletPort: 10_250, egress: false, address: "10.0.0.1" };
const open: RoutedNode = { name: "open", kubeletPort: 10_251, egress: true, address: "10.0.0.2" };
const own: RoutedNode = { name: "own", kubeletPort: 10_250, egress: true, address: "10.0.0.9" };
const nodes = [plain, open, own];
const table: AddressTable = {
  nodeByName: (name) => nodes.find((node) => node.name === name),
  nodeByIp: (ip) => nodes.find((node) => node.address === ip),
  nodeOfPodIp: (ip) => (ip === "10.42.0.7" ? open : ip === "10.42.0.8" ? plain : undefined),
};

function route(host: string, port: number, mode: EgressMode = "cluster"): string {
  const ownNode = { name: "own", bindAddress: "10.0.0.9" };
  const answer = routeOf(host, port, { mode, table, ownNode, loopback: "127.0.0.1" });
  if (answer.via === "tunnel") return `tunnel to ${answer.node} for ${answer.address}`;
  return answer.via === "direct" ? `direct to ${answer.host}:${answer.port}` : `none: ${answer.reason}`;
}

describe("the egress routing table", () => {
  test.each([
    ["plain", 10_250, "tunnel to plain for 127.0.0.1:10250"],
    ["nobody-knows", 10_250, "tunnel to nobody-knows for 127.0.0.1:10250"],
    ["10.0.0.1", 10_250, "tunnel to plain for 127.0.0.1:10250"],
    ["10.0.0.1", 10_010, "tunnel to plain for 127.0.0.1:10010"],
    ["10.0.0.2", 10_251, "tunnel to open for 127.0.0.1:10251"],
    ["10.0.0.1", 443, "direct to 10.0.0.1:443"],
    ["10.0.0.2", 443, "tunnel to open for 10.0.0.2:443"],
    ["10.42.0.7", 8_443, "tunnel to open for 10.42.0.7:8443"],
    ["10.42.0.8", 8_443, "direct to 10.42.0.8:8443"],
    ["10.43.0.1", 443, "direct to 10.43.0.1:443"],
    ["10.0.0.9", 10_250, "direct to 10.0.0.9:10250"],
    ["own", 10_250, "direct to 10.0.0.9:10250"],
  ])("%s:%i goes %s", (host, port, expected) => {
    expect(route(host, port)).toBe(expected);
  });

  test("mode disabled tunnels nothing", () => {
    expect(route("plain", 10_250, "disabled")).toBe("direct to 10.0.0.1:10250");
    expect(route("10.0.0.2", 10_251, "disabled")).toBe("direct to 10.0.0.2:10251");
    expect(route("nobody-knows", 10_250, "disabled")).toBe("none: no address of node nobody-knows is known");
  });

  test.each(["", "host", "host:", "host:0", "host:70000", "a b:1", "[::1:1", "http://h:1"])(
    "%j is no target",
    (target) => {
      expect(parseAuthority(target)).toBeUndefined();
    },
  );

  test.each([
    ["[fd00::1]:10250", "fd00::1"],
    ["[FD00:0:0:0:0:0:0:1]:10250", "fd00::1"],
    ["[0:0:0:0:0:0:0:1]:10250", "::1"],
    ["[::ffff:10.0.0.1]:10250", "10.0.0.1"],
    ["[::ffff:0a00:1]:10250", "10.0.0.1"],
    ["10.0.0.1:10250", "10.0.0.1"],
  ])("%s is %s, however it is spelt", (target, host) => {
    expect(parseAuthority(target)).toEqual({ host, port: 10_250 });
  });
});
