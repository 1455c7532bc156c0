import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readBundle, readCertificate, verifyChain } from "../src/index.ts";

const folder = mkdtempSync(join(tmpdir(), "keelson-chain-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const openssl = (...args: string[]): string =>
  execFileSync("openssl", args, { cwd: folder, encoding: "utf8", stdio: "pipe" });

const ca = { basicConstraints: "critical,CA:TRUE", keyUsage: "critical,keyCertSign" };
const client = { keyUsage: "critical,digitalSignature", extendedKeyUsage: "clientAuth" };

/** Signs a certificate with these extensions, as `<name>.crt`; by itself when no issuer is named. */
function certify(name: string, extensions: Record<string, string>, issuer?: string): void {
  const lines = Object.entries(extensions).map(([key, value]) => `${key}=${value}`);
  writeFileSync(join(folder, `${name}.ext`), `${lines.join("\n")}\n`);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${name}.key`];
  openssl("req", "-new", ...key, "-out", `${name}.csr`, "-subj", `/CN=${name}`);
  const signer = issuer === undefined ? ["-key", `${name}.key`] : ["-CA", `${issuer}.crt`, "-CAkey", `${issuer}.key`];
  const request = ["-req", "-in", `${name}.csr`, "-days", "5", "-extfile", `${name}.ext`];
  openssl("x509", ...request, ...signer, "-out", `${name}.crt`);
}

// OpenSSL judges each chain too; only of "any" as a purpose do Go, which we follow, and OpenSSL think differently.
describe("the rules of a chain from a root over an intermediate to a client's leaf", () => {
  it.each([
    ["all is in order", {}, {}, {}, true],
    ["the root allows no CA below it", { basicConstraints: "critical,CA:TRUE,pathlen:0" }, {}, {}, false],
    ["the root allows one CA below it", { basicConstraints: "critical,CA:TRUE,pathlen:1" }, {}, {}, true],
    ["the intermediate may sign leaves", {}, { basicConstraints: "critical,CA:TRUE,pathlen:0" }, {}, true],
    ["the intermediate is no CA", {}, { basicConstraints: "critical,CA:FALSE" }, {}, false],
    ["the intermediate's key is not for certificates", {}, { keyUsage: "critical,cRLSign" }, {}, false],
    ["the intermediate is for servers only", {}, { extendedKeyUsage: "serverAuth" }, {}, false],
    ["the intermediate names hosts", {}, { nameConstraints: "critical,permitted;DNS:example.test" }, {}, true],
    ["the intermediate demands what nobody knows", {}, { "1.2.3.4": "critical,ASN1:NULL" }, {}, false],
    ["the leaf demands what nobody knows", {}, {}, { "1.2.3.4": "critical,ASN1:NULL" }, false],
    ["the leaf says something of no weight", {}, {}, { "1.2.3.4": "ASN1:NULL" }, true],
  ])("%s", (_, atRoot, atIntermediate, atLeaf, allowed) => {
    certify("root", { ...ca, ...atRoot });
    certify("intermediate", { ...ca, ...atIntermediate }, "root");
    certify("leaf", { ...client, ...atLeaf }, "intermediate");
    const read = (name: string): string => readFileSync(join(folder, `${name}.crt`), "utf8");
    const presented = [readCertificate(read("leaf")).der, readCertificate(read("intermediate")).der];
    expect(verifyChain(presented, readBundle(read("root")), "client", Date.now()).ok).toBe(allowed);

    const files = ["-CAfile", "root.crt", "-untrusted", "intermediate.crt", "leaf.crt"];
    const byOpenssl = (): string => openssl("verify", "-purpose", "sslclient", ...files);
    if (allowed) expect(byOpenssl()).toContain("OK");
    else expect(byOpenssl).toThrow();
  });
});
