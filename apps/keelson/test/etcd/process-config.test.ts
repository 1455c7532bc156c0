import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { etcdLayout } from "../../src/etcd/layout.ts";
import { type EtcdProcessOptions, etcdProcessConfig, etcdUrl } from "../../src/etcd/process-config.ts";

function config(options: Partial<EtcdProcessOptions>): Record<string, unknown> {
  const text = etcdProcessConfig(etcdLayout("/data"), {
    memberName: "a-01234567",
    address: "10.0.0.1",
    clientPort: 2379,
    peerPort: 2380,
    metricsPort: 2381,
    exposeMetrics: false,
    heartbeatIntervalMs: 200,
    electionTimeoutMs: 2_000,
    extraArgs: [],
    ...options,
  });
  return parse(text) as Record<string, unknown>;
}

describe("etcd's configuration", () => {
  test("listens on loopback and on the server's address, metrics on loopback alone", () => {
    expect(config({})).toMatchObject({
      "listen-client-urls": "https://127.0.0.1:2379,https://10.0.0.1:2379",
      "listen-metrics-urls": "http://127.0.0.1:2381",
      "data-dir": "/data/server/db/etcd",
    });
  });

  test("binds everywhere for a member that is known by name", () => {
    expect(config({ address: "server-1.etcd", exposeMetrics: true })).toMatchObject({
      "listen-peer-urls": "https://0.0.0.0:2380",
      "initial-advertise-peer-urls": "https://server-1.etcd:2380",
      "listen-metrics-urls": "http://0.0.0.0:2381",
    });
  });

  test("takes the user's arguments last, with their types", () => {
    expect(
      config({ extraArgs: ["quota-backend-bytes=4294967296", "--heartbeat-interval=500", "enable-v2=false"] }),
    ).toMatchObject({
      "quota-backend-bytes": 4_294_967_296,
      "heartbeat-interval": 500,
      "enable-v2": false,
    });
    expect(() => config({ extraArgs: ["= 1"] })).toThrow(/--etcd-arg/);
  });

  test("writes IPv6 addresses with brackets", () => {
    expect(etcdUrl("fd00::1", 2380)).toBe("https://[fd00::1]:2380");
    expect(config({ address: "fd00::1" })).toMatchObject({
      "listen-client-urls": "https://127.0.0.1:2379,https://[fd00::1]:2379",
      "advertise-client-urls": "https://[fd00::1]:2379",
      "listen-metrics-urls": "http://127.0.0.1:2381",
    });
  });
});
