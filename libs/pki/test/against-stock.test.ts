import { execFileSync } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  Authority,
  type AuthorityName,
  authorityFiles,
  certificateNames,
  createCaCertificate,
  generateEcKey,
  readCertificate,
  serverCertificates,
} from "../src/index.ts";
import { type RecordedCertificate, readLayout } from "./layout.ts";

const layout = readLayout();
const nowMs = Date.now();
const folder = mkdtempSync(join(tmpdir(), "keelson-pki-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const authorities = new Map<AuthorityName, Authority>();
for (const name of Object.keys(authorityFiles) as AuthorityName[]) {
  const key = await generateEcKey();
  authorities.set(name, new Authority(createCaCertificate(authorityFiles[name].prefix, key, nowMs), key));
}

const usageWords: Record<string, string> = {
  "Digital Signature": "digitalSignature",
  "Key Encipherment": "keyEncipherment",
  "Certificate Sign": "keyCertSign",
};

/** What newer K3s releases, which we follow there, say otherwise than the recorded v1.21. */
const newer: Record<string, Partial<RecordedCertificate>> = {
  "client-kube-apiserver": { subject: { CN: "system:apiserver", O: "system:masters" } },
};

describe("a CA", () => {
  it.each(Object.keys(authorityFiles) as AuthorityName[])("%s is like stock K3s's", (name) => {
    const { file, prefix } = authorityFiles[name];
    const [recorded] = layout.get(file)!;
    const info = readCertificate(authorities.get(name)!.bundlePem);
    expect(info.commonName).toBe(`${prefix}-ca@${Math.floor(nowMs / 1_000)}`);
    expect(recorded!.subject.CN!.startsWith(`${prefix}-ca@`)).toBe(true);
    expect(info).toMatchObject({ isCa: true, serial: "00", organizations: [] });
    expect(info.keyUsage).toEqual(recorded!.keyUsage.map((word) => usageWords[word]));
    expect((info.notAfterMs - info.notBeforeMs) / 86_400_000).toBe(recorded!.lifetimeDays);
    expect(recorded!.key).toContain("id-ecPublicKey 256 bit, signature ecdsa-with-SHA256");
  });
});

describe("a leaf", () => {
  it.each(serverCertificates)("$file is like stock K3s's and passes openssl verify", async (leaf) => {
    const authority = authorities.get(leaf.authority)!;
    // Which names a server wants is registration's affair, and held against the same recording there.
    const names = leaf.names === undefined ? [] : ["localhost", "127.0.0.1"];
    const pem = authority.issue(
      { commonName: leaf.commonName, organizations: leaf.organizations ?? [], purposes: leaf.purposes, names },
      createPublicKey(await generateEcKey()),
      nowMs,
    );
    const [certFile, caFile] = [join(folder, "leaf.crt"), join(folder, "ca.crt")];
    writeFileSync(certFile, pem);
    writeFileSync(caFile, authority.bundlePem);
    for (const purpose of leaf.purposes) {
      const args = ["verify", "-x509_strict", "-purpose", `ssl${purpose}`, "-CAfile", caFile, certFile];
      expect(execFileSync("openssl", args, { encoding: "utf8" })).toContain(": OK");
    }
    const recorded = layout.get(leaf.file)?.[0];
    if (recorded === undefined) return expect(leaf.file).toBe("client-supervisor"); // not in v1.21
    const wanted = { ...recorded, ...newer[leaf.file] };
    const info = readCertificate(pem);
    expect({
      CN: info.commonName,
      ...(info.organizations[0] === undefined ? {} : { O: info.organizations[0] }),
    }).toEqual(wanted.subject);
    expect(info.issuerCommonName.split("-ca@")[0]).toBe(recorded.issuerPrefix.replace(/-ca$/, ""));
    expect(info.keyUsage).toEqual(recorded.keyUsage.map((word) => usageWords[word]));
    expect(info.extendedKeyUsage).toEqual(recorded.extendedKeyUsage);
    expect(certificateNames(info)).toEqual(names);
    expect(recorded.names.length > 0).toBe(leaf.names !== undefined);
    expect((info.notAfterMs - info.notBeforeMs) / 86_400_000).toBe(recorded.lifetimeDays);
    expect(info.authorityKeyId).toEqual(authority.certificate.subjectKeyId);
    expect(Number.parseInt(info.serial.slice(0, 1), 16)).toBeLessThan(8); // 63 bits, positive
  });
});
