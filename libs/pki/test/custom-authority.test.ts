import { execFileSync } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  Authority,
  generateEcKey,
  importPrivateKey,
  readBundle,
  readCertificate,
  readPem,
  verifyChain,
  withoutRoots,
} from "../src/index.ts";

const folder = mkdtempSync(join(tmpdir(), "keelson-pki-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const openssl = (...args: string[]): string =>
  execFileSync("openssl", args, { cwd: folder, encoding: "utf8", stdio: "pipe" });

/** Root and intermediate made by OpenSSL, as an administrator would; the bundle has the intermediate first. */
function customAuthority(keyArgs: string[]): { bundlePem: string; keyPem: string; rootPem: string } {
  writeFileSync(
    join(folder, "ca.ext"),
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,digitalSignature\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
  );
  openssl(
    "req",
    "-x509",
    ...keyArgs,
    "-nodes",
    "-keyout",
    "root.key",
    "-out",
    "root.crt",
    "-days",
    "30",
    "-subj",
    "/CN=root",
  );
  openssl(
    "req",
    "-new",
    ...keyArgs,
    "-nodes",
    "-keyout",
    "int.key",
    "-out",
    "int.csr",
    "-subj",
    "/O=Example/CN=intermediate",
  );
  openssl(
    "x509",
    "-req",
    "-in",
    "int.csr",
    "-CA",
    "root.crt",
    "-CAkey",
    "root.key",
    "-CAcreateserial",
    "-out",
    "int.crt",
    "-days",
    "20",
    "-extfile",
    "ca.ext",
  );
  const read = (name: string): string => readFileSync(join(folder, name), "utf8");
  return { bundlePem: read("int.crt") + read("root.crt"), keyPem: read("int.key"), rootPem: read("root.crt") };
}

describe("a CA that an administrator brings", () => {
  it.each([
    ["EC P-256", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]],
    ["EC P-384", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"]],
    ["RSA 2048", ["-newkey", "rsa:2048"]],
    ["Ed25519", ["-newkey", "ed25519"]],
  ])("signs with its intermediate, %s, and the chain verifies up to the root", async (_, keyArgs) => {
    const { bundlePem, keyPem, rootPem } = customAuthority(keyArgs);
    const authority = new Authority(bundlePem, importPrivateKey(keyPem));
    expect(authority.certificate.commonName).toBe("intermediate");
    const key = createPublicKey(await generateEcKey());
    const pem = authority.issue({ commonName: "leaf", purposes: ["server"], names: ["example.test"] }, key, Date.now());
    expect(readBundle(pem).map(({ commonName }) => commonName)).toEqual(["leaf", "intermediate", "root"]);
    writeFileSync(join(folder, "leaf.crt"), pem);
    const verdict = openssl(
      "verify",
      "-CAfile",
      "root.crt",
      "-untrusted",
      "int.crt",
      "-purpose",
      "sslserver",
      "leaf.crt",
    );
    expect(verdict).toContain("leaf.crt: OK");
    const [leaf, intermediate] = readPem(pem).map(({ der }) => der);
    const root = readBundle(rootPem);
    expect(verifyChain([leaf!, intermediate!], root, "server", Date.now()).ok).toBe(true);
    expect(verifyChain([leaf!], root, "server", Date.now())).toEqual({ ok: false, reason: "unknown-authority" });
    // A leaf never outlives its issuer, and never begins before it.
    const { notAfterMs, notBeforeMs } = readCertificate(pem);
    expect([notAfterMs, notBeforeMs]).toEqual([authority.certificate.notAfterMs, authority.certificate.notBeforeMs]);
  });

  it("is shown without its root by who presents a leaf of it", async () => {
    const { bundlePem, keyPem, rootPem } = customAuthority(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    const authority = new Authority(bundlePem, importPrivateKey(keyPem));
    const key = createPublicKey(await generateEcKey());
    const pem = authority.issue({ commonName: "leaf", purposes: ["client"] }, key, Date.now());
    const shown = readBundle(withoutRoots(pem));
    expect(shown.map(({ commonName }) => commonName)).toEqual(["leaf", "intermediate"]);
    const chain = shown.map(({ der }) => der);
    expect(verifyChain(chain, readBundle(rootPem), "client", Date.now()).ok).toBe(true);
    // A self-signed certificate that is itself the leaf stays.
    expect(readBundle(withoutRoots(rootPem))).toHaveLength(1);
  });

  it("is refused with another CA's key, or when its first certificate is not a CA", async () => {
    const { bundlePem, keyPem } = customAuthority(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    const other = await generateEcKey();
    expect(() => new Authority(bundlePem, other)).toThrow("another CA's");
    const authority = new Authority(bundlePem, importPrivateKey(keyPem));
    const leaf = authority.issue({ commonName: "leaf", purposes: ["client"] }, createPublicKey(other), Date.now());
    expect(() => new Authority(leaf, other)).toThrow("not a CA certificate");
  });
});
