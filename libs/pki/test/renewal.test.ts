import { createPublicKey } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  Authority,
  admitListenerNames,
  createCaCertificate,
  generateEcKey,
  planRenewal,
  readCertificate,
} from "../src/index.ts";

const dayMs = 86_400_000;
const nowMs = Date.UTC(2026, 0, 1);
const caKey = await generateEcKey();
const authority = new Authority(createCaCertificate("k3s-server", caKey, nowMs), caKey);
const leaf = (lifetimeMs?: number) =>
  readCertificate(
    authority.issue(
      { commonName: "kube-apiserver", purposes: ["server"], names: ["kubernetes", "127.0.0.1", "::1"] },
      createPublicKey(caKey),
      nowMs,
      lifetimeMs,
    ),
  );
const wanted = { commonName: "kube-apiserver", names: ["kubernetes", "::1"], issuer: authority.certificate };

describe("a leaf's renewal", () => {
  it("is due 120 days before its end, or when a third of a short life is left", () => {
    expect(planRenewal(leaf(), nowMs, wanted)).toEqual({ renewAtMs: nowMs + 245 * dayMs, reason: undefined });
    expect(planRenewal(leaf(), nowMs + 245 * dayMs, wanted).reason).toBe("expiring");
    expect(planRenewal(leaf(), nowMs + 400 * dayMs, wanted).reason).toBe("expired");
    expect(planRenewal(leaf(30 * dayMs), nowMs, wanted).renewAtMs).toBe(nowMs + 20 * dayMs);
  });

  it("is due at once for a new name, another subject or another CA", async () => {
    const reason = (change: object): unknown => planRenewal(leaf(), nowMs, { ...wanted, ...change }).reason;
    expect(reason({ names: ["kubernetes", "api.example.test"] })).toBe("names-missing");
    expect(reason({ commonName: "other" })).toBe("subject-changed");
    expect(reason({ organizations: ["system:masters"] })).toBe("subject-changed");
    const newKey = await generateEcKey();
    const replaced = new Authority(createCaCertificate("k3s-server", newKey, nowMs), newKey);
    expect(reason({ issuer: replaced.certificate })).toBe("issuer-changed");
  });
});

describe("the names of the listener", () => {
  const configured = ["localhost", "127.0.0.1", "Api.Example.Test"];

  it("grow by what clients use, once each, in one spelling", () => {
    const seen = ["192.0.2.9", "::ffff:192.0.2.9", "LOCALHOST", "fd00:0:0::1", "node-2."];
    expect(admitListenerNames(configured, seen, { enabled: false, serverNames: undefined })).toEqual([
      "localhost",
      "127.0.0.1",
      "api.example.test",
      "192.0.2.9",
      "fd00::1",
      "node-2",
    ]);
  });

  it("grow only by names of servers once these are known, when the guard is on", () => {
    const serverNames = new Set(["192.0.2.9"]);
    const seen = ["192.0.2.9", "203.0.113.5", "evil.example"];
    const admit = (guard: Parameters<typeof admitListenerNames>[2]): string[] => admitListenerNames([], seen, guard);
    expect(admit({ enabled: true, serverNames })).toEqual(["192.0.2.9"]);
    expect(admit({ enabled: true, serverNames: undefined })).toEqual(seen);
    expect(admit({ enabled: false, serverNames })).toEqual(seen);
  });

  it("never learn a wildcard or what is no name, and never without bound", () => {
    const strange = ["*.example.test", "", "a b", "-x.test", "a".repeat(64), "under_score.ok", ..."\u0000<>"];
    expect(admitListenerNames([], strange, { enabled: false, serverNames: undefined })).toEqual(["under_score.ok"]);
    const flood = Array.from({ length: 1_000 }, (_, index) => `h${index}.test`);
    expect(admitListenerNames([], flood, { enabled: false, serverNames: undefined })).toHaveLength(64);
    // A configured wildcard is the administrator's choice.
    expect(admitListenerNames(["*.example.test"], [], { enabled: true, serverNames: new Set() })).toEqual([
      "*.example.test",
    ]);
  });
});
