import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { accepted } from "@keelson/protocol/supervisor";
import { expect, test } from "vitest";
import { agentPassword } from "./support/fake-registration.ts";
import { type Answer, type Harness, startHarness } from "./support/harness.ts";

/** Everything the gateway answers on a connection that is sent `bytes`, until it closes it. */
async function raw(harness: Harness, bytes: string, options: { plain?: boolean } = {}): Promise<string> {
  const ca = harness.registration.serverCa.bundlePem;
  const address = { host: "127.0.0.1", port: harness.port };
  const socket = options.plain ? connectTcp(address) : connectTls({ ...address, ca });
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  socket.on("error", () => {});
  socket.write(bytes);
  await once(socket, "close");
  return text;
}

test("plain HTTP gets stock's one line", async () => {
  await using harness = await startHarness();
  const answer = await raw(harness, "GET /cacerts HTTP/1.1\r\nHost: x\r\n\r\n", { plain: true });
  expect(answer).toBe("HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
});

test("a header that never ends is cut off after its time, one that is too long at once", async () => {
  await using harness = await startHarness({ config: { limits: { headersTimeoutMs: 300 } } });
  expect(await raw(harness, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")).toMatch(/^HTTP\/1.1 408 /);
  expect(await raw(harness, "")).toMatch(/^(HTTP\/1.1 408 |$)/);
  const long = `GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${"a".repeat(70_000)}\r\n\r\n`;
  expect(await raw(harness, long)).toMatch(/^HTTP\/1.1 431 /);
});

test("a client that never starts TLS is dropped", async () => {
  await using harness = await startHarness({ config: { limits: { handshakeTimeoutMs: 200 } } });
  expect(await raw(harness, "", { plain: true })).toBe("");
  expect(await raw(harness, "\x16\x03\x01", { plain: true })).toBe("");
});

test("requests that could be read two ways end here", async () => {
  await using harness = await startHarness();
  const smuggled = [
    "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "GET / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "NONSENSE\r\n\r\n",
    "GET %zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "GET /api/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  ];
  for (const bytes of smuggled) expect(await raw(harness, bytes), bytes).toMatch(/^HTTP\/1.1 400 /);
  expect(harness.seen.length).toBe(0);
});

test("one address may hold only so many connections; closing one makes room", async () => {
  await using harness = await startHarness({ config: { limits: { connectionsPerAddress: 2 } } });
  const ca = harness.registration.serverCa.bundlePem;
  const open = async () => {
    const socket = connectTls({ host: "127.0.0.1", port: harness.port, ca });
    socket.on("error", () => {});
    await once(socket, "secureConnect");
    return socket;
  };
  const first = await open();
  const second = await open();
  await expect(open()).rejects.toMatchObject({ code: "ECONNRESET" });
  first.destroy();
  await expect.poll(open).toBeDefined();
  second.destroy();
});

test("agent requests beyond the limit and its queue are told to come back, the Kubernetes API is not limited", async () => {
  const limits = { agentWrites: 2, agentWaiting: 1, agentMaxWaitMs: 60_000 };
  await using harness = await startHarness({ config: { limits } });
  const hold: ((value: unknown) => void)[] = [];
  harness.registration.issueCertificate = async () => {
    await new Promise((resolve) => hold.push(resolve));
    return accepted("PEM");
  };
  const post = () => harness.call("/v1-k3s/client-kube-proxy.crt", { method: "POST", basic: `node:${agentPassword}` });
  const running = [post(), post(), post()];
  await expect.poll(() => hold.length).toBe(2);
  await expect.poll(async () => (await post()).status, { interval: 5 }).toBe(429);
  const refused = await post();
  expect(refused).toMatchObject({ status: 429, headers: { "retry-after": "1" } });
  expect(refused.body).toMatch(/^Too many requests/);
  const client = await harness.registration.client("system:admin", ["system:masters"]);
  expect((await harness.call("/readyz", { client })).status).toBe(200);
  expect((await harness.call("/v1-k3s/config", { basic: `node:${agentPassword}` })).status).toBe(200);
  hold.splice(0).forEach((resolve) => {
    resolve(undefined);
  });
  await expect.poll(() => hold.length).toBe(1);
  hold[0]?.(undefined);
  expect((await Promise.all(running)).map((answer) => answer.status)).toEqual([200, 200, 200]);
});

test("credentials beyond what may wait to be judged are told to come back", async () => {
  await using harness = await startHarness();
  const hold: (() => void)[] = [];
  harness.registration.authenticate = async () => {
    await new Promise<void>((resolve) => hold.push(resolve));
    return { outcome: "refused" };
  };
  const guess = () => harness.call("/v1-k3s/config", { basic: "node:guess" });
  const sentAway: Answer[] = [];
  const guesses = Array.from({ length: 100 }, async () => {
    const answer = await guess();
    if (answer.status === 429) sentAway.push(answer);
    return answer.status;
  });
  const patient = { timeout: 15_000 };
  await expect.poll(() => hold.length, patient).toBe(64);
  // Nobody is judged meanwhile: those who wait are sent away after three seconds.
  await expect.poll(() => sentAway.length, patient).toBe(36);
  expect(sentAway[0]?.headers["retry-after"]).toBe("1");
  expect((await harness.call("/ping")).status).toBe(200);
  for (const release of hold) release();
  const statuses = await Promise.all(guesses);
  expect(statuses.filter((status) => status === 401).length).toBe(64);
});

test("a body that stops arriving does not keep a place", async () => {
  await using harness = await startHarness({
    kubeApi: (req, res) => void req.resume().once("end", () => res.end()),
    config: { limits: { bodyIdleTimeoutMs: 200 } },
  });
  const client = await harness.registration.client("system:admin", ["system:masters"]);
  const ca = harness.registration.serverCa.bundlePem;
  const socket = connectTls({ host: "127.0.0.1", port: harness.port, ca, ...client });
  socket.write("POST /api/v1/pods HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
  const [answer] = await once(socket, "data");
  expect(String(answer)).toMatch(/^HTTP\/1.1 408 /);
  socket.destroy();
});

test.each(["POST /ping", "POST /v1-k3s/config", "POST /static/x", "POST /version"])(
  "%s with a body that never comes does not keep its connection",
  async (request) => {
    await using harness = await startHarness({
      kubeApi: (_, res) => void res.end("early"),
      config: { limits: { idleTimeoutMs: 300, bodyIdleTimeoutMs: 300 } },
    });
    const head = `${request} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nab`;
    expect(await raw(harness, head)).toMatch(/^HTTP\/1.1 \d\d\d /);
  },
  4_000,
);

test("TLS 1.2 and 1.3 are spoken with forward secrecy and authenticated encryption, and nothing older", async () => {
  await using harness = await startHarness();
  const ca = harness.registration.serverCa.bundlePem;
  const target = { host: "127.0.0.1", port: harness.port, ca };
  const negotiated = async (options: ConnectionOptions): Promise<string> => {
    const socket = connectTls({ ...target, ...options });
    await once(socket, "secureConnect");
    const agreed = `${socket.getProtocol()} ${socket.getCipher().name}`;
    socket.destroy();
    return agreed;
  };
  expect(await negotiated({})).toMatch(/^TLSv1.3 TLS_/);
  expect(await negotiated({ maxVersion: "TLSv1.2" })).toMatch(/^TLSv1.2 ECDHE-ECDSA-.*(GCM|POLY1305)/);
  const weak: ConnectionOptions[] = [
    { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA" },
    { minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "ALL@SECLEVEL=0" },
  ];
  for (const options of weak) await expect(negotiated(options)).rejects.toThrow();
});
