import { createCertificateRequest, generateEcKey, readCertificate } from "@keelson/pki";
import { describe, expect, it } from "vitest";
import { startRegistration } from "./support/fixture.ts";

const csrDer = createCertificateRequest(await generateEcKey());
const controlPlane = { labels: { "node-role.kubernetes.io/control-plane": "true" } };

describe("the listener certificate", () => {
  it("carries what stock agents verify, and the chain to its CA", async () => {
    const { registration } = await startRegistration({
      tlsSans: ["api.example.test"],
      advertiseAddress: "198.51.100.1",
    });
    const signed = await registration.signListener({ csrDer, names: [] });
    if (!signed.ok) throw new Error(signed.refusal.message);
    const leaf = readCertificate(signed.value.chainPem);
    expect([leaf.commonName, leaf.organizations, leaf.extendedKeyUsage]).toEqual(["k3s", ["k3s"], ["server"]]);
    expect(new Set(signed.value.names)).toEqual(
      new Set([
        ...["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"],
        ...["localhost", "127.0.0.1", "::1", "10.43.0.1", "server-1", "192.0.2.1", "198.51.100.1", "api.example.test"],
      ]),
    );
    expect(signed.value.renewAtMs).toBe(leaf.notAfterMs - 120 * 86_400_000);
  });

  it("learns the addresses of servers and nobody else's, unless the guard is off", async () => {
    const names = ["192.0.2.9", "192.0.2.10", "203.0.113.66", "evil.example"];
    const learned = async (tlsSanSecurity: boolean): Promise<string[]> => {
      const { registration, cluster } = await startRegistration({ tlsSanSecurity });
      cluster.addNode("server-2", { ...controlPlane, addresses: ["192.0.2.9"] });
      cluster.addNode("agent-1", { addresses: ["203.0.113.66"] });
      cluster.servers = ["192.0.2.10:6443"];
      const signed = await registration.signListener({ csrDer, names });
      return signed.ok ? names.filter((name) => signed.value.names.includes(name)) : [];
    };
    expect(await learned(true)).toEqual(["192.0.2.9", "192.0.2.10"]);
    expect(await learned(false)).toEqual(names);
  });

  it("is not signed for what is no request", async () => {
    const { registration } = await startRegistration();
    expect(await registration.signListener({ csrDer: Buffer.from("x"), names: [] })).toMatchObject({
      ok: false,
      refusal: { status: 400, code: "csr/invalid" },
    });
  });
});
