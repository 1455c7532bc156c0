import { createPublicKey, X509Certificate } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import {
  Authority,
  createCaCertificate,
  createCertificateRequest,
  DerError,
  generateEcKey,
  generateRsaKey,
  readCertificate,
  readCertificateRequest,
  readTrustBundle,
  verifyChain,
} from "../src/index.ts";

const nowMs = Date.UTC(2026, 5, 1);
const dayMs = 86_400_000;
const caKey = await generateEcKey();
const authority = new Authority(createCaCertificate("k3s-client", caKey, nowMs - 10 * dayMs), caKey);
const bundle = readTrustBundle(authority.bundlePem);
const leafKey = await generateEcKey();
const issue = (profile: Partial<Parameters<Authority["issue"]>[0]> = {}, atMs = nowMs): Buffer =>
  readCertificate(
    authority.issue(
      { commonName: "system:node:a", organizations: ["system:nodes"], purposes: ["client"], ...profile },
      createPublicKey(leafKey),
      atMs,
    ),
  ).der;

describe("verifying a presented certificate", () => {
  it("accepts one of the CA and reads who it is", () => {
    const verified = verifyChain([issue()], bundle, "client", nowMs);
    expect(verified).toMatchObject({
      ok: true,
      certificate: { commonName: "system:node:a", organizations: ["system:nodes"] },
    });
  });

  it("refuses what is expired, not valid yet, for another purpose or of another CA", async () => {
    const der = issue();
    expect(verifyChain([der], bundle, "client", nowMs + 366 * dayMs)).toEqual({ ok: false, reason: "expired" });
    expect(verifyChain([der], bundle, "client", nowMs - 2 * dayMs)).toEqual({ ok: false, reason: "not-yet-valid" });
    expect(verifyChain([issue({ purposes: ["server"] })], bundle, "client", nowMs)).toEqual({
      ok: false,
      reason: "wrong-purpose",
    });
    const otherKey = await generateEcKey();
    // Same name, same time, another key: only the signature tells them apart.
    const twin = new Authority(createCaCertificate("k3s-client", otherKey, nowMs - 10 * dayMs), otherKey);
    expect(verifyChain([der], readTrustBundle(twin.bundlePem), "client", nowMs)).toEqual({
      ok: false,
      reason: "unknown-authority",
    });
  });

  it("does not let the holder of a leaf sign for others", async () => {
    const key = await generateEcKey();
    const caTwin = createCaCertificate("evil", key, nowMs);
    const { commonName } = readCertificate(caTwin);
    // A leaf of our CA with the name and key of a CA of the attacker's own making, who then signs as that CA.
    const leaf = readCertificate(
      authority.issue({ commonName, purposes: ["client"] }, createPublicKey(key), nowMs),
    ).der;
    const forged = new Authority(caTwin, key).issue(
      { commonName: "system:admin", organizations: ["system:masters"], purposes: ["client"] },
      createPublicKey(key),
      nowMs,
    );
    const verified = verifyChain([readCertificate(forged).der, leaf], bundle, "client", nowMs);
    expect(verified).toEqual({ ok: false, reason: "unknown-authority" });
  });

  it("checks few signatures, however many paths the presented certificates make", async () => {
    const key = await generateEcKey();
    // Same name, same key: each of them signs each other and itself.
    const ring = Array.from({ length: 7 }, () => readCertificate(createCaCertificate("evil", key, nowMs)).der);
    const leaf = new Authority(createCaCertificate("evil", key, nowMs), key).issue(
      { commonName: "system:admin", purposes: ["client"] },
      createPublicKey(key),
      nowMs,
    );
    const checks = vi.spyOn(X509Certificate.prototype, "verify");
    const verified = verifyChain([readCertificate(leaf).der, ...ring], bundle, "client", nowMs);
    expect(verified).toEqual({ ok: false, reason: "unknown-authority" });
    expect(checks.mock.calls.length).toBeLessThanOrEqual(24);
    checks.mockRestore();
  });

  it("never throws, whatever it is shown", () => {
    const der = issue();
    const mutated = fc.tuple(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, flip]) => {
      const copy = Buffer.from(der);
      copy[at]! ^= flip;
      return copy;
    });
    fc.assert(
      fc.property(
        fc.oneof(fc.uint8Array({ maxLength: 200 }), mutated),
        (bytes) => verifyChain([bytes], bundle, "client", nowMs).ok === false,
      ),
    );
  });
});

describe("a certificate request", () => {
  it("carries the key, and reads back", async () => {
    const key = await generateEcKey();
    const read = readCertificateRequest(createCertificateRequest(key));
    expect(read.equals(createPublicKey(key))).toBe(true);
  });

  it("is refused with a DerError when it is anything else", async () => {
    const good = createCertificateRequest(leafKey);
    expect(() => readCertificateRequest(good.subarray(0, -1))).toThrow(DerError);
    expect(() => readCertificateRequest(Buffer.concat([good, Buffer.from([0])]))).toThrow(DerError);
    expect(() => readCertificateRequest(issue())).toThrow(DerError);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(() => readCertificateRequest(bytes)).toThrow(DerError);
      }),
    );
    const rsa = await generateRsaKey();
    expect(rsa.asymmetricKeyDetails?.modulusLength).toBe(2048);
  });
});
