import { execFileSync } from "node:child_process";
import { createPublicKey, type KeyObject } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Authority, createCaCertificate, generateEcKey, readBundle, verifyChain } from "../src/index.ts";

const dayMs = 86_400_000;
const folder = mkdtempSync(join(tmpdir(), "keelson-pki-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Whether both Go's rules and OpenSSL accept a leaf, with the chain that comes with it, under a bundle at a time. */
function accepts(bundlePem: string, leafPem: string, atMs: number): boolean {
  const chain = readBundle(leafPem).map(({ der }) => der);
  const go = verifyChain(chain, readBundle(bundlePem), "server", atMs).ok;
  const [bundle, leaf] = [join(folder, "bundle.pem"), join(folder, "leaf.pem")];
  writeFileSync(bundle, bundlePem);
  writeFileSync(leaf, leafPem);
  const args = ["-x509_strict", "-purpose", "sslserver", "-attime", String(Math.floor(atMs / 1_000))];
  let openssl = true;
  try {
    execFileSync("openssl", ["verify", ...args, "-CAfile", bundle, "-untrusted", leaf, leaf], { stdio: "pipe" });
  } catch {
    openssl = false;
  }
  expect(openssl).toBe(go);
  return go;
}

function issueLeaf(ca: Authority, key: KeyObject, nowMs: number): string {
  return ca.issue({ commonName: "leaf", purposes: ["server"], names: ["leaf"] }, createPublicKey(key), nowMs);
}

describe("the successor of a CA", () => {
  it("lives for ten years more, accepts what came before and is accepted by it, generation after generation", async () => {
    const leafKey = await generateEcKey();
    let nowMs = Date.now();
    const rootKey = await generateEcKey();
    let ca = new Authority(createCaCertificate("k3s-server", rootKey, nowMs), rootKey);
    for (let generation = 1; generation <= 3; generation++) {
      nowMs = ca.certificate.notAfterMs - 60 * dayMs;
      const key = await generateEcKey();
      const next = new Authority(ca.issueSuccessor("k3s-server", key, nowMs), key);
      expect(next.certificate.notAfterMs).toBeGreaterThan(nowMs + 3_649 * dayMs);
      const [before, after] = [issueLeaf(ca, leafKey, nowMs), issueLeaf(next, leafKey, nowMs)];
      expect(accepts(ca.bundlePem, after, nowMs)).toBe(true);
      expect(accepts(next.bundlePem, before, nowMs)).toBe(true);
      expect(accepts(next.bundlePem, after, nowMs)).toBe(true);
      // When the CA that it succeeds has ended, only who took the new bundle goes on.
      const laterMs = ca.certificate.notAfterMs + 5 * 365 * dayMs;
      const late = issueLeaf(next, leafKey, laterMs);
      expect(accepts(next.bundlePem, late, laterMs)).toBe(true);
      expect(accepts(ca.bundlePem, late, laterMs)).toBe(false);
      ca = next;
    }
  });

  it("does not outlive the root of an organisation's own", async () => {
    const nowMs = Date.now();
    const [rootKey, key] = [await generateEcKey(), await generateEcKey()];
    const root = new Authority(createCaCertificate("company", rootKey, nowMs), rootKey);
    const intermediate = new Authority(root.issueSuccessor("company", key, nowMs), key);
    const next = readBundle(intermediate.issueSuccessor("k3s-server", await generateEcKey(), nowMs + 100 * dayMs));
    expect(next[0]!.notAfterMs).toBe(intermediate.certificate.notAfterMs);
    expect(next.map(({ der }) => der).slice(1)).toEqual(readBundle(intermediate.bundlePem).map(({ der }) => der));
  });
});
