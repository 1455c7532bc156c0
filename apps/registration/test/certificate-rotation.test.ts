import { execFileSync } from "node:child_process";
import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  Authority,
  createCaCertificate,
  exportPrivateKey,
  generateEcKey,
  readCertificate,
  serverCertificates,
} from "@keelson/pki";
import {
  type BootstrapData,
  bootstrapKey,
  formatBootstrapData,
  openBootstrap,
  parseBootstrapData,
} from "@keelson/secret-format";
import { ManualClock } from "@keelson/service";
import { describe, expect, it } from "vitest";
import { createSuccessorCas, readCas } from "../src/certificates/ca-successors.ts";
import { checkCertificates } from "../src/certificates/certificate-check.ts";
import { requestRotation } from "../src/certificates/rotation-request.ts";
import { leafLifetime } from "../src/config.ts";
import { FakeCluster } from "./support/fake-cluster.ts";
import { agentIdentity, MovableClock, startRegistration, temporaryFolder } from "./support/fixture.ts";
import { MemoryEnvelopes } from "./support/memory-envelopes.ts";

const dayMs = 86_400_000;

describe("leaf certificates", () => {
  it("renew before their end while the server runs, and their users are told", async () => {
    const clock = new MovableClock();
    const { registration } = await startRegistration({}, { clock });
    const told: string[][] = [];
    registration.onCertificatesRenewed((files) => told.push([...files]));
    const before = await registration.readCertificate("client-admin");
    expect(await registration.renewCertificates()).toEqual([]);
    clock.offsetMs = 246 * dayMs;
    const renewed = await registration.renewCertificates();
    expect(new Set(renewed)).toEqual(new Set(serverCertificates.map(({ file }) => file)));
    expect(told).toEqual([renewed]);
    const after = await registration.readCertificate("client-admin");
    expect(after.certPem).not.toBe(before.certPem);
    expect(readCertificate(after.certPem).notAfterMs).toBeGreaterThan(clock.now() + 364 * dayMs);
    // What was issued before stays valid until its own end.
    const oldOne = [readCertificate(before.certPem).der];
    expect((await registration.authenticate({ clientCertificates: oldOne })).outcome).toBe("authenticated");
    expect((await registration.certificateStatus()).every(({ plan }) => plan.reason === undefined)).toBe(true);
  });

  it("reach connections that are opened later, through TLS options that stay current", async () => {
    const { registration } = await startRegistration();
    const tls = await registration.liveTls("client-kube-apiserver");
    const before = { ...tls };
    await registration.renewCertificates(["client-kube-apiserver"]);
    await expect.poll(() => ({ ...tls }).cert).not.toBe(before.cert);
    expect({ ...tls }.ca).toBe(before.ca);
    expect(new X509Certificate(tls.cert).checkPrivateKey(createPrivateKey(tls.key))).toBe(true);
  });

  it("are all there again after a year in which the server was off", async () => {
    const clock = new MovableClock();
    const first = await startRegistration({ token: "server-secret" }, { clock });
    await first.registration.stop();
    clock.offsetMs = 400 * dayMs;
    const expired = await first.registration.certificateStatus();
    expect(expired.every(({ plan }) => plan.reason === "expired")).toBe(true);
    const { registration } = await startRegistration({ dataDir: first.dataDir }, { clock });
    const status = await registration.certificateStatus();
    expect(status.every(({ notAfterMs, plan }) => plan.reason === undefined && notAfterMs > clock.now())).toBe(true);
    // The token and its pin are what they were, so agents come back with what they have.
    expect(registration.serverToken).toBe(first.registration.serverToken);
    const authorization = `Basic ${Buffer.from("node:server-secret").toString("base64")}`;
    expect((await registration.authenticate({ authorization })).outcome).toBe("authenticated");
  });

  it("are no reason for a warning while they renew by themselves; a CA at its end is, on the Node", async () => {
    const clock = new MovableClock();
    const dataDir = await temporaryFolder();
    const cluster = new FakeCluster(clock);
    cluster.addNode("server-1");
    const first = await startRegistration({ dataDir }, { clock, clusterApi: cluster });
    await first.registration.stop();
    clock.offsetMs = 300 * dayMs;
    const second = await startRegistration({ dataDir }, { clock, clusterApi: cluster });
    await second.registration.stop();
    expect(cluster.events).toEqual([]);
    clock.offsetMs = 3_560 * dayMs;
    await startRegistration({ dataDir }, { clock, clusterApi: cluster });
    await expect.poll(() => cluster.events).toHaveLength(1);
    expect(cluster.events[0]).toMatchObject({
      type: "Warning",
      reason: "CertificateExpirationWarning",
      node: { name: "server-1" },
      message: expect.stringMatching(/server-ca: CA CN=k3s-server-ca@\d+ will expire on 20\d\d-\d\d-\d\d.*rotate-ca/),
    });
  });

  it("live as long as the configuration says, or K3s's environment variable", () => {
    const config = { dataDir: "", nodeName: "s", nodeIps: [], httpsPort: 1 };
    const variable = (days: string) => leafLifetime(config, { CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS: days }) / dayMs;
    expect(leafLifetime({ ...config, leafLifetimeMs: 5 }, {})).toBe(5);
    expect(["30", "", "x", "-1"].map(variable)).toEqual([30, 365, 365, 365]);
  });

  it("renew one by one on request", async () => {
    const { registration } = await startRegistration();
    const before = await registration.readCertificate("client-scheduler");
    expect(await registration.renewCertificates(["client-scheduler"])).toEqual(["client-scheduler"]);
    expect((await registration.readCertificate("client-scheduler")).certPem).not.toBe(before.certPem);
  });

  it("are made anew when a file is damaged or a name is missing", async () => {
    const { registration, dataDir } = await startRegistration();
    await registration.stop();
    await writeFile(registration.paths.certificate("client-admin"), "garbage");
    const second = await startRegistration({ dataDir, tlsSans: ["api.example.test"] });
    const admin = await second.registration.readCertificate("client-admin");
    expect(readCertificate(admin.certPem).commonName).toBe("system:admin");
    const serving = await second.registration.readCertificate("serving-kube-apiserver");
    expect(readCertificate(serving.certPem).dnsNames).toContain("api.example.test");
  });
});

describe("the certificate commands", () => {
  it("show every certificate on disk with its state", async () => {
    const clock = new MovableClock();
    const { registration, dataDir } = await startRegistration({}, { clock });
    const rows = await checkCertificates(dataDir, clock.now());
    expect(rows.find(({ file }) => file === "server/tls/client-admin.crt")).toMatchObject({
      subject: "CN=system:admin,O=system:masters",
      usages: ["client"],
      status: "ok",
    });
    expect(rows.filter(({ isCa }) => isCa)).toHaveLength(7); // five CAs, and two of them without their chain
    await writeFile(registration.paths.certificate("client-scheduler"), "garbage");
    const states = async (days: number): Promise<Record<string, string>> =>
      Object.fromEntries(
        (await checkCertificates(dataDir, clock.now() + days * dayMs)).map(({ file, status }) => [file, status]),
      );
    expect((await states(250))["server/tls/client-admin.crt"]).toBe("expiring");
    expect((await states(366))["server/tls/client-admin.crt"]).toBe("expired");
    expect((await states(366))["server/tls/client-ca.crt"]).toBe("ok");
    expect((await states(0))["server/tls/client-scheduler.crt"]).toBe("unreadable");
  });

  it("make the running server renew, within seconds and without a restart", async () => {
    const { registration, dataDir } = await startRegistration();
    const renewed = new Promise<readonly string[]>((resolve) => registration.onCertificatesRenewed(resolve));
    await requestRotation(dataDir, ["client-admin"]);
    expect(await renewed).toEqual(["client-admin"]);
    await expect(requestRotation(dataDir, ["nonsense"])).rejects.toMatchObject({ code: "certificate/unknown" });
    await expect(requestRotation(join(dataDir, "other"))).rejects.toMatchObject({ code: "certificate/no-server" });
  });

  it("replace every CA by a successor that cuts nobody off and lives longer", async () => {
    const clock = new MovableClock();
    clock.offsetMs = -3_300 * dayMs;
    const { registration, dataDir } = await startRegistration({}, { clock });
    clock.offsetMs = 0;
    await registration.renewCertificates();
    const before = await registration.caBundles();
    const admin = [readCertificate((await registration.readCertificate("client-admin")).certPem).der];
    const json = await createSuccessorCas(dataDir, clock.now());
    expect(await registration.replaceCas(json, false)).toEqual({ ok: true, value: undefined });
    const after = await registration.caBundles();
    expect(after.clientCaPem).not.toBe(before.clientCaPem);
    const ends = Object.values(after).map((pem) => readCertificate(pem).notAfterMs);
    expect(Math.min(...ends)).toBeGreaterThan(clock.now() + 3_649 * dayMs);
    expect((await registration.authenticate({ clientCertificates: admin })).outcome).toBe("authenticated");
    const folder = await temporaryFolder();
    await writeFile(join(folder, "old.crt"), before.serverCaPem);
    const { certPem } = await registration.readCertificate("serving-kube-apiserver");
    await writeFile(join(folder, "chain.pem"), certPem);
    const args = [
      "verify",
      "-x509_strict",
      "-purpose",
      "sslserver",
      "-CAfile",
      "old.crt",
      "-untrusted",
      "chain.pem",
      "chain.pem",
    ];
    expect(execFileSync("openssl", args, { cwd: folder, encoding: "utf8" })).toContain("OK");
    // The same files, laid out by hand, are the same request.
    expect(await registration.replaceCas(await readCas(registration.paths.root), false)).toEqual({
      ok: true,
      value: undefined,
    });
  });
});

/** Bootstrap-format JSON of a new server CA. */
function newServerCa(certPem: string, keyPem: string): string {
  const piece = (content: string) => ({ content: Buffer.from(content), modifiedMs: Date.now() });
  const data: BootstrapData = { ServerCA: piece(certPem), ServerCAKey: piece(keyPem) };
  return formatBootstrapData(data);
}

describe("replacing a CA", () => {
  it("reaches the other servers of a datastore at once, with new leaves", async () => {
    const envelopes = new MemoryEnvelopes();
    const shared = { token: "cluster-secret", sharedDatastore: true };
    const first = await startRegistration(shared, { envelopes });
    const second = await startRegistration(shared, { envelopes });
    const renewed: string[] = [];
    second.registration.onCertificatesRenewed((files) => renewed.push(...files));
    const successors = await createSuccessorCas(first.dataDir, Date.now());
    expect((await first.registration.replaceCas(successors, false)).ok).toBe(true);
    await expect.poll(() => new Set(renewed)).toEqual(new Set(serverCertificates.map(({ file }) => file)));
    expect(await second.registration.caBundles()).toEqual(await first.registration.caBundles());
    expect(second.registration.serverToken).toBe(first.registration.serverToken);
    expect(await readFile(second.registration.paths.key("client-ca"), "utf8")).toBe(
      await readFile(first.registration.paths.key("client-ca"), "utf8"),
    );
  });

  it("changes nothing when the datastore cannot be asked, and is not undone by a server that missed it", async () => {
    const envelopes = new MemoryEnvelopes();
    const clock = new ManualClock(Date.now());
    const shared = { token: "cluster-secret", sharedDatastore: true };
    const first = await startRegistration(shared, { envelopes });
    const second = await startRegistration(shared, { envelopes, clock });
    const before = await first.registration.caBundles();
    const successors = await createSuccessorCas(first.dataDir, Date.now());
    envelopes.failure = new Error("the datastore is away");
    expect(await first.registration.replaceCas(successors, false)).toMatchObject({
      ok: false,
      refusal: { status: 503 },
    });
    expect(await first.registration.caBundles()).toEqual(before);
    envelopes.failure = undefined;
    envelopes.isDeaf = true;
    expect(await first.registration.replaceCas(successors, false)).toEqual({ ok: true, value: undefined });
    const after = await first.registration.caBundles();
    expect(await second.registration.caBundles()).toEqual(before);
    clock.advance(6 * 3_600_000);
    await expect.poll(() => second.registration.caBundles()).toEqual(after);
    const stored = parseBootstrapData(
      openBootstrap("cluster-secret", envelopes.values.get(bootstrapKey("cluster-secret"))!.value),
    );
    expect(stored.ServerCA!.content.toString()).toBe(after.serverCaPem);
  });

  it("is refused when it would cut off running agents, unless forced", async () => {
    const envelopes = new MemoryEnvelopes();
    const { registration } = await startRegistration({ token: "server-secret", sharedDatastore: true }, { envelopes });
    const key = await generateEcKey();
    const json = newServerCa(createCaCertificate("k3s-server", key, Date.now()), exportPrivateKey(key));
    const { serverCaPem } = await registration.caBundles();
    expect(await registration.replaceCas(json, false)).toMatchObject({
      ok: false,
      refusal: { status: 400, message: expect.stringContaining("not signed by a certificate of the old bundle") },
    });
    expect((await registration.caBundles()).serverCaPem).toBe(serverCaPem);
    expect(await registration.replaceCas(json, true)).toEqual({ ok: true, value: undefined });
    const bundles = await registration.caBundles();
    expect(bundles.serverCaPem).not.toBe(serverCaPem);
    // Everything that hangs on the CA follows: leaves, token, envelope.
    const serving = await registration.readCertificate("serving-kube-apiserver");
    expect(readCertificate(serving.certPem).issuerDer).toEqual(readCertificate(bundles.serverCaPem).subjectDer);
    expect(await readFile(registration.paths.token, "utf8")).toBe(`${registration.serverToken}\n`);
    const stored = envelopes.values.get(bootstrapKey("server-secret"))!.value;
    const data = parseBootstrapData(openBootstrap("server-secret", stored));
    expect(data.ServerCA!.content.toString()).toBe(bundles.serverCaPem);
  });

  it("goes through without force when the old and the new vouch for each other", async () => {
    const { registration } = await startRegistration();
    const folder = await temporaryFolder();
    const openssl = (...args: string[]): Buffer => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
    const oldPem = await readFile(registration.paths.certificate("server-ca"), "utf8");
    await writeFile(join(folder, "old.crt"), oldPem);
    await writeFile(join(folder, "old.key"), await readFile(registration.paths.key("server-ca"), "utf8"));
    await writeFile(
      join(folder, "ext"),
      "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,digitalSignature\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
    );
    openssl(
      "req",
      "-new",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      "new.key",
      "-out",
      "new.csr",
      "-subj",
      "/CN=next-server-ca",
    );
    openssl(
      "x509",
      "-req",
      "-in",
      "new.csr",
      "-CA",
      "old.crt",
      "-CAkey",
      "old.key",
      "-set_serial",
      "7",
      "-out",
      "new.crt",
      "-days",
      "30",
      "-extfile",
      "ext",
    );
    const bundle = (await readFile(join(folder, "new.crt"), "utf8")) + oldPem;
    const keyPem = await readFile(join(folder, "new.key"), "utf8");
    expect(await registration.replaceCas(newServerCa(bundle, keyPem), false)).toEqual({ ok: true, value: undefined });
    const issued = await registration.issueCertificate({
      kind: "serving-kubelet",
      caller: agentIdentity,
      node: { name: "agent-1", password: "secret" },
    });
    if (!issued.ok) throw new Error(issued.refusal.message);
    await writeFile(join(folder, "leaf.crt"), issued.value);
    // An agent that still has the old bundle accepts the new leaf, since the chain comes with it.
    const verdict = openssl(
      "verify",
      "-CAfile",
      "old.crt",
      "-untrusted",
      "new.crt",
      "-purpose",
      "sslserver",
      "leaf.crt",
    );
    expect(verdict.toString()).toContain("OK");
  });

  it.each([
    ["nothing to replace", "{}", /no new CA/],
    ["what is not JSON", "garbage", /not JSON/],
    ["a certificate without its key", newServerCaHalf(), /must come together/],
  ])("is refused for %s", async (_, json, message) => {
    const { registration } = await startRegistration();
    expect(await registration.replaceCas(json, true)).toMatchObject({
      ok: false,
      refusal: { status: 400, message: expect.stringMatching(message) },
    });
  });

  it("is refused with a leaf, or with another's key, even when forced", async () => {
    const { registration } = await startRegistration();
    const [key, other] = [await generateEcKey(), await generateEcKey()];
    const ca = createCaCertificate("k3s-server", key, Date.now());
    expect((await registration.replaceCas(newServerCa(ca, exportPrivateKey(other)), true)).ok).toBe(false);
    const leaf = new Authority(ca, key).issue(
      { commonName: "x", purposes: ["server"] },
      createPublicKey(other),
      Date.now(),
    );
    expect((await registration.replaceCas(newServerCa(leaf, exportPrivateKey(other)), true)).ok).toBe(false);
  });
});

function newServerCaHalf(): string {
  return formatBootstrapData({ ServerCA: { content: Buffer.from("x"), modifiedMs: 0 } });
}
