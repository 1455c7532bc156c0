import { readFileSync } from "node:fs";
import { certificateNames, readCertificate, serverCertificates } from "@keelson/pki";
import { expect, it } from "vitest";
import { startRegistration } from "./support/fixture.ts";

/** What newer K3s releases add to the names that v1.21 was recorded with. */
const newer = ["::1", "server-1", "kine.sock"];

/** Names of a certificate of the recorded stock server. */
function recordedNames(file: string): string[] | undefined {
  const text = readFileSync(new URL("../../../conformance/vectors/layout.txt", import.meta.url), "utf8");
  const section = text.split(`--- <server-data-dir>/server/tls/${file}.crt:`)[1]?.split(/^ \[1\] |^--- /m)[0];
  const names = /X509v3 Subject Alternative Name:.*\n(.*)/.exec(section ?? "")?.[1] ?? "";
  if (section === undefined) return undefined;
  return names.split(",").flatMap((name) => /^\s*(?:DNS|IP Address):(.+)$/.exec(name)?.[1] ?? []);
}

it("every certificate of a server has the names that stock K3s gives it, and those that the administrator adds", async () => {
  const { registration } = await startRegistration({
    nodeIps: ["192.0.2.2"],
    advertiseAddress: "198.51.100.3",
    tlsSans: ["api.example.test"],
  });
  let compared = 0;
  for (const { file, names } of serverCertificates) {
    const { certPem } = await registration.readCertificate(file);
    const ours = new Set(certificateNames(readCertificate(certPem)));
    const recorded = recordedNames(file);
    if (recorded === undefined) {
      expect([file, ours.size]).toEqual(["client-supervisor", 0]); // not in v1.21
      continue;
    }
    expect([file, recorded.length > 0]).toEqual([file, names !== undefined]);
    const added = names === undefined ? [] : ["198.51.100.3", "api.example.test"];
    expect([file, [...recorded, ...added].filter((name) => !ours.has(name))]).toEqual([file, []]);
    const extra = [...ours].filter((name) => ![...recorded, ...added, ...newer].includes(name));
    expect([file, extra]).toEqual([file, []]);
    compared++;
  }
  expect(compared).toBe(serverCertificates.length - 1);
});
