import { resolveOptions } from "@keelson/service";
import { describe, expect, it } from "vitest";
import { defaultCacheBytes } from "../src/engine/value-cache.ts";
import { datastoreConfig, datastoreOptions } from "../src/options.ts";

function config(flags: Record<string, string>) {
  const values = new Map(Object.entries(flags).map(([name, value]) => [name, [value]]));
  return datastoreConfig(resolveOptions(datastoreOptions, [{ from: "flags", values }]));
}

describe("the flags of keelson datastore", () => {
  it("give the cache any whole number of MiB", () => {
    expect(config({}).cacheBytes).toBe(defaultCacheBytes);
    expect(config({ "cache-size": "4096" }).cacheBytes).toBe(4 * 2 ** 30);
    for (const wrong of ["0", "-1", "0.5"]) {
      expect(() => config({ "cache-size": wrong })).toThrow("is not a whole number of MiB above 0");
    }
  });

  it("take kine's forms of a listen address", () => {
    for (const address of [":2379", "tcp://:2379", "http://:2379"]) {
      expect(config({ "listen-address": address }).listen).toEqual([{ url: "http://:2379" }]);
    }
    expect(config({ "listen-address": "unix://kine.sock" }).listen).toEqual([{ url: "unix://kine.sock" }]);
  });

  it("refuse authorities of client certificates without a certificate to serve TLS with", () => {
    expect(() => config({ "trusted-ca-file": "/ca" })).toThrow("--trusted-ca-file asks for client certificates");
  });
});
