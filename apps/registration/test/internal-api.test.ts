import { request } from "node:https";
import { createCertificateRequest, generateEcKey, readBundle, readCertificate } from "@keelson/pki";
import { createLogger, ManualClock, silentLogger, systemClock } from "@keelson/service";
import { describe, expect, it, onTestFinished } from "vitest";
import { ComponentIdentity, type ComponentIdentityOptions } from "../src/api/component-identity.ts";
import { createRegistrationHttpClient, postMessage } from "../src/api/http-client.ts";
import { decodeMessage, encodeMessage, methodPath } from "../src/api/wire.ts";
import { createSuccessorCas } from "../src/certificates/ca-successors.ts";
import { agentIdentity, startRegistration, temporaryFolder } from "./support/fixture.ts";

const listen = { internalApi: { host: "127.0.0.1", port: 0 } };
const dayMs = 86_400_000;

async function enrol(
  url: string,
  options: Partial<ComponentIdentityOptions>,
  clock = new ManualClock(Date.now()),
): Promise<ComponentIdentity> {
  const identity = new ComponentIdentity(
    { component: "gateway", url, name: "gateway-1", names: [], directory: await temporaryFolder(), ...options },
    clock,
    silentLogger,
  );
  onTestFinished(() => identity.stop());
  await identity.start();
  return identity;
}

describe("registration apart from the gateway", () => {
  it("answers an enrolled gateway as it answers in one process", async () => {
    const { registration } = await startRegistration({ ...listen, tlsSanSecurity: false });
    const url = `https://127.0.0.1:${registration.internalPort}`;
    const identity = await enrol(url, { token: registration.serverToken });
    const client = createRegistrationHttpClient({ url, tls: () => identity.registrationTls });
    onTestFinished(() => client.close());
    expect(await client.caBundles()).toEqual(await registration.caBundles());
    expect(await client.clusterConfig()).toEqual(await registration.clusterConfig());
    expect(await client.readiness()).toEqual({ ok: true, value: "ok" });
    const password = registration.serverToken.split(":").at(-1)!;
    const authorization = `Basic ${Buffer.from(`node:${password}`).toString("base64")}`;
    expect(await client.authenticate({ authorization })).toEqual(await registration.authenticate({ authorization }));
    const csrDer = createCertificateRequest(await generateEcKey());
    const issued = await client.issueCertificate({
      kind: "client-kubelet",
      caller: agentIdentity,
      node: { name: "agent-1", password: "secret" },
      csrDer,
    });
    if (!issued.ok) throw new Error(issued.refusal.message);
    expect(readCertificate(issued.value).commonName).toBe("system:node:agent-1");
    const refusal = await client.issueCertificate({ kind: "client-kubelet", caller: agentIdentity, node: {} });
    expect(refusal).toMatchObject({ ok: false, refusal: { status: 400, message: "node name not set" } });
    const listener = await client.signListener({ csrDer, names: ["192.0.2.77"] });
    expect(listener.ok && listener.value.names).toContain("192.0.2.77");
  });

  it("gives each component the certificates of its role, and the service key to the API alone", async () => {
    const { registration } = await startRegistration(listen);
    const url = `https://127.0.0.1:${registration.internalPort}`;
    const names = ["kube-api-1", "192.0.2.5"];
    const api = await enrol(url, { token: registration.serverToken, component: "kube-api", name: "kube-api-1", names });
    const subject = (file: string): string => readBundle(api.certificate(file).cert)[0]!.commonName;
    expect(
      ["client-registration", "serving-kube-apiserver", "client-kube-apiserver", "etcd-client"].map(subject),
    ).toEqual(["keelson:kube-api:kube-api-1", "kube-apiserver", "system:apiserver", "etcd-client"]);
    expect(api.serviceKeyPem).toContain("RSA PRIVATE KEY");
    const gateway = await enrol(url, { token: registration.serverToken });
    expect(() => gateway.serviceKeyPem).toThrow("not there");
    expect(() => gateway.certificate("client-kube-apiserver")).toThrow("not there");
    // A component may not act as a gateway.
    const call = postMessage({ url, path: methodPath("serverBootstrap"), message: {}, ...api.registrationTls });
    await expect(call).rejects.toMatchObject({ code: "registration/refused", status: 403 });
    // Nor may it enrol as another one.
    await expect(
      postMessage({
        url,
        path: "/v1/enrol",
        message: {
          component: "kube-api",
          name: "x",
          names: [],
          csrDer: createCertificateRequest(await generateEcKey()),
        },
        ...gateway.registrationTls,
      }),
    ).rejects.toMatchObject({ status: 403 });
  });

  it("is not enrolled with without the server token, or when the pin is another cluster's", async () => {
    const { registration } = await startRegistration({ ...listen, agentToken: "agent-secret" });
    const url = `https://127.0.0.1:${registration.internalPort}`;
    const [pin] = registration.serverToken.split("::");
    await expect(enrol(url, { token: `${pin}::server:wrong` })).rejects.toMatchObject({ status: 401 });
    await expect(enrol(url, { token: `${pin}::server:agent-secret` })).rejects.toMatchObject({ status: 401 });
    await expect(enrol(url, { token: registration.serverToken.replace(/K10../, "K1000") })).rejects.toMatchObject({
      code: "token/ca-mismatch",
    });
    await expect(enrol(url, { token: "just-a-password" })).rejects.toMatchObject({ code: "component/pin-required" });
    await expect(enrol(url, {})).rejects.toMatchObject({ code: "component/token-required" });
  });

  it("is waited for by a part that starts first, which logs no secret while it does", async () => {
    const first = await startRegistration(listen);
    const port = first.registration.internalPort!;
    const token = first.registration.serverToken;
    await first.registration.stop();
    const lines: string[] = [];
    const log = createLogger({ name: "part", level: "debug", destination: { write: (line) => lines.push(line) } });
    const options = { component: "gateway", name: "gateway-1", names: [], token } as const;
    const url = `https://127.0.0.1:${port}`;
    const identity = new ComponentIdentity({ ...options, url, directory: await temporaryFolder() }, systemClock, log);
    onTestFinished(() => identity.stop());
    const started = identity.start();
    await expect.poll(() => lines.join("")).toContain(`waiting for registration at ${url}`);
    await startRegistration({ internalApi: { host: "127.0.0.1", port }, dataDir: first.dataDir });
    await started;
    expect(lines.join("")).toContain("enrolled with registration");
    expect(lines.join("")).not.toContain(token.split(":").at(-1));
    expect(lines.join("")).not.toContain("PRIVATE KEY");
  });

  it("renews a component's certificates before they end, with no token", async () => {
    // TLS itself goes by the real time, so the past is where the injected one begins.
    const clock = new ManualClock(Date.now() - 250 * dayMs);
    const { registration } = await startRegistration(listen, { clock: { ...systemClock, now: () => clock.now() } });
    const url = `https://127.0.0.1:${registration.internalPort}`;
    const options = { token: registration.serverToken, directory: await temporaryFolder() };
    const first = await enrol(url, options, clock);
    const before = first.registrationTls.cert;
    let renewals = 0;
    first.onRenewed(() => renewals++);
    clock.advance(250 * dayMs);
    await expect
      .poll(() => {
        clock.advance(5_000);
        return renewals;
      })
      .toBe(1);
    expect(first.registrationTls.cert).not.toBe(before);
    // A restart finds them and asks nobody.
    await registration.stop();
    const { token: _, ...withoutToken } = options;
    const second = await enrol(url, withoutToken, clock);
    expect(second.registrationTls).toEqual(first.registrationTls);
  });

  it("is followed by its components within seconds when the CAs are replaced", async () => {
    const { registration, dataDir } = await startRegistration(listen);
    const url = `https://127.0.0.1:${registration.internalPort}`;
    const clock = new ManualClock(Date.now());
    const options = {
      token: registration.serverToken,
      component: "kube-api",
      directory: await temporaryFolder(),
    } as const;
    const api = await enrol(url, options, clock);
    const live = api.liveTls("client-kube-apiserver");
    const before = { ...live };
    const successors = await createSuccessorCas(dataDir, Date.now());
    expect((await registration.replaceCas(successors, false)).ok).toBe(true);
    const told = new Promise<void>((resolve) => api.onRenewed(resolve));
    clock.advance(5_000);
    await told;
    const bundles = await registration.caBundles();
    expect([live.ca, api.bundle("client-ca")]).toEqual([bundles.serverCaPem, bundles.clientCaPem]);
    expect(live.cert).not.toBe(before.cert);
    const issuer = readCertificate(bundles.clientCaPem).commonName;
    expect(readCertificate(live.cert).issuerCommonName).toBe(issuer);
    // Who is no part of the control plane is told nothing here.
    const admin = await registration.readCertificate("client-admin");
    const asked = postMessage({
      url,
      path: "/v1/bundles",
      message: {},
      ca: bundles.serverCaPem,
      cert: admin.certPem,
      key: admin.keyPem,
    });
    await expect(asked).rejects.toMatchObject({ status: 403 });
  });

  it("turns away whoever shows nothing, an unknown method and a body without end", async () => {
    const { registration } = await startRegistration(listen);
    const url = `https://127.0.0.1:${registration.internalPort}`;
    const { serverCaPem: ca } = await registration.caBundles();
    const post = (path: string, extra: object = {}) => postMessage({ url, path, message: {}, ca, ...extra });
    await expect(post(methodPath("caBundles"))).rejects.toMatchObject({ status: 401 });
    const identity = await enrol(url, { token: registration.serverToken });
    const tls = identity.registrationTls;
    await expect(post("/v1/registration/constructor", tls)).rejects.toThrow("404: there is no such method");
    await expect(post(methodPath("signListener"), tls)).rejects.toThrow('400: "csrDer" is missing');
    await expect(
      post(methodPath("rotateToken"), { ...tls, message: { newToken: "x".repeat(600_000) } }),
    ).rejects.toThrow();
    const cacerts = await new Promise<string>((resolve, reject) => {
      request(new URL("/cacerts", url), { ca }, (res) => {
        res.setEncoding("utf8");
        let body = "";
        res.on("data", (chunk: string) => {
          body += chunk;
        });
        res.on("end", () => resolve(body));
      })
        .on("error", reject)
        .end();
    });
    expect(cacerts).toBe(ca);
  });
});

describe("messages", () => {
  it("carry bytes", () => {
    const message = { a: new Uint8Array([1, 2]), b: [Buffer.from("x")], c: "text", d: undefined };
    expect(decodeMessage(encodeMessage(message))).toEqual({ a: Buffer.from([1, 2]), b: [Buffer.from("x")], c: "text" });
  });
});
