import { createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { Authority, exportPrivateKey, generateEcKey, importPrivateKey } from "@keelson/pki";
import { checkRole, findRoute } from "@keelson/protocol/supervisor";
import { createLogger } from "@keelson/service";
import { describe, expect, it, onTestFinished } from "vitest";
import type { Registration } from "../src/registration.ts";
import { startRegistration } from "./support/fixture.ts";
import { MemoryEnvelopes } from "./support/memory-envelopes.ts";

/** The routes that a joining server asks, in front of a real registration. */
async function serve(
  registration: Registration,
  change: { date?: string; config?: object } = {},
  isUp: () => boolean = () => true,
): Promise<string> {
  const { serverCaPem } = await registration.caBundles();
  const ca = new Authority(serverCaPem, importPrivateKey(await readFile(registration.paths.key("server-ca"), "utf8")));
  const key = await generateEcKey();
  const cert = ca.issue(
    { commonName: "k3s", purposes: ["server"], names: ["127.0.0.1"] },
    createPublicKey(key),
    Date.now(),
  );
  const server: Server = createServer({ cert, key: exportPrivateKey(key) }, (req, res) => {
    void (async () => {
      if (!isUp()) return res.writeHead(503).end("starting");
      if (change.date !== undefined) res.setHeader("date", change.date);
      const route = findRoute(req.method!, req.url!)!;
      const { authorization } = req.headers;
      const status = checkRole(
        route.role,
        await registration.authenticate(authorization === undefined ? {} : { authorization }),
      );
      if (status !== undefined) return res.writeHead(status).end();
      if (route.name === "cacerts") return res.end(serverCaPem);
      if (route.name === "config")
        return res.end(JSON.stringify({ ...(await registration.clusterConfig()), ...change.config }));
      const json = await registration.serverBootstrap();
      return res.end(json.ok ? json.value : "");
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("a server that joins another", () => {
  it("takes over its CAs, keys and passwords, and needs it no more afterwards", async () => {
    const { registration: first } = await startRegistration({ token: "server-secret", agentToken: "agent-secret" });
    const joinUrl = await serve(first);
    const second = await startRegistration({ joinUrl, token: first.serverToken, agentToken: "agent-secret" });
    expect(await second.registration.caBundles()).toEqual(await first.caBundles());
    expect(second.registration.serverToken).toBe(first.serverToken);
    await second.registration.stop();
    const gone = "https://127.0.0.1:1";
    const again = await startRegistration({ dataDir: second.dataDir, joinUrl: gone, token: first.serverToken });
    expect(again.registration.serverToken).toBe(first.serverToken);
  });

  it("is stopped by each critical field that differs, and told which", async () => {
    const { registration: first } = await startRegistration({ token: "server-secret" });
    const joinUrl = await serve(first, { config: { FlannelBackend: "none" } });
    const join = startRegistration({
      joinUrl,
      token: first.serverToken,
      cluster: { clusterCidrs: ["10.52.0.0/16"] },
    });
    await expect(join).rejects.toMatchObject({
      code: "server/config-mismatch",
      message: expect.stringMatching(
        /ClusterIPRange is 10\.52\.0\.0\/16 here and 10\.42\.0\.0\/16 there.*FlannelBackend is vxlan here and none there/,
      ),
    });
  });

  it("is stopped by them, too, where agents have a token of their own that it was not told", async () => {
    const { registration: first } = await startRegistration({ token: "server-secret", agentToken: "agent-secret" });
    const joinUrl = await serve(first);
    const config = { joinUrl, token: first.serverToken };
    const other = { cluster: { clusterDomain: "other.local" } };
    await expect(startRegistration({ ...config, ...other })).rejects.toMatchObject({ code: "server/config-mismatch" });
    const { registration, dataDir } = await startRegistration(config);
    await registration.stop();
    // Neither at its first start nor at a later one.
    await expect(startRegistration({ ...config, ...other, dataDir })).rejects.toMatchObject({
      code: "server/config-mismatch",
    });
  });

  it("is refused with an agent token that the cluster's servers do not accept, as long as one of them runs", async () => {
    const { registration: joined } = await startRegistration({ token: "server-secret", agentToken: "agent-secret" });
    const join = { joinUrl: await serve(joined), token: joined.serverToken, agentToken: "another-secret" };
    await expect(startRegistration(join)).rejects.toMatchObject({ code: "token/agent-mismatch" });

    const envelopes = new MemoryEnvelopes();
    const shared = { token: "server-secret", sharedDatastore: true };
    const { registration: first } = await startRegistration({ ...shared, agentToken: "agent-secret" }, { envelopes });
    const port = Number(new URL(await serve(first)).port);
    const lease = { kind: "Endpoints", subsets: [{ addresses: [{ ip: "127.0.0.1" }], ports: [{ port }] }] };
    await envelopes.create("/registry/masterleases/127.0.0.1", JSON.stringify(lease));
    const before = envelopes.writes;
    const second = { ...shared, agentToken: "another-secret" };
    await expect(startRegistration(second, { envelopes })).rejects.toMatchObject({
      code: "token/agent-mismatch",
      message: expect.not.stringContaining("secret"),
    });
    expect(envelopes.writes).toBe(before);
    const basic = (password: string) => ({
      authorization: `Basic ${Buffer.from(`node:${password}`).toString("base64")}`,
    });
    const { registration: third } = await startRegistration(shared, { envelopes });
    expect((await third.authenticate(basic("agent-secret"))).outcome).toBe("authenticated");
    // Nobody else runs: it is a change.
    envelopes.values.delete("/registry/masterleases/127.0.0.1");
    const { registration: changed } = await startRegistration(second, { envelopes });
    expect((await changed.authenticate(basic("another-secret"))).outcome).toBe("authenticated");
  });

  it("waits for a server that is away, says so once, and joins when it comes", async () => {
    const { registration: first } = await startRegistration({ token: "server-secret" });
    let isUp = false;
    const joinUrl = await serve(first, {}, () => isUp);
    const lines: string[] = [];
    const log = createLogger({ name: "test", destination: { write: (line) => lines.push(line) } });
    const join = startRegistration({ joinUrl, token: first.serverToken }, { log });
    await expect.poll(() => lines.join("")).toContain(`waiting for the server ${joinUrl}`);
    isUp = true;
    const second = await join;
    expect(second.registration.serverToken).toBe(first.serverToken);
    const told = lines.filter((line) => line.includes(`the server ${joinUrl}`));
    expect(told).toEqual([expect.stringContaining("waiting for"), expect.stringContaining("is there")]);
  });

  it("is compared with a server that is alive in the datastore that they share, when it names none", async () => {
    const envelopes = new MemoryEnvelopes();
    const shared = { token: "server-secret", sharedDatastore: true };
    const { registration: first } = await startRegistration(shared, { envelopes });
    const port = Number(new URL(await serve(first)).port);
    const lease = { kind: "Endpoints", subsets: [{ addresses: [{ ip: "127.0.0.1" }], ports: [{ port }] }] };
    await envelopes.create("/registry/masterleases/127.0.0.1", JSON.stringify(lease));
    await startRegistration(shared, { envelopes });
    const differs = startRegistration({ ...shared, cluster: { clusterDomain: "other.local" } }, { envelopes });
    await expect(differs).rejects.toMatchObject({
      code: "server/config-mismatch",
      message: expect.stringContaining("ClusterDomain is other.local here and cluster.local there"),
    });
  });

  it("sends no password to a server that the token does not pin", async () => {
    const { registration: first } = await startRegistration({ token: "server-secret" });
    const { registration: other } = await startRegistration({ token: "server-secret" });
    const join = startRegistration({ joinUrl: await serve(first), token: other.serverToken });
    await expect(join).rejects.toMatchObject({ code: "token/ca-mismatch" });
  });

  it("joins with whichever of its tokens the server takes, and is told how many it does not", async () => {
    const { registration: first } = await startRegistration({ token: "server-secret" });
    const joinUrl = await serve(first);
    const { registration } = await startRegistration({ joinUrl, token: ["newer-secret", "server-secret"] });
    expect(await registration.caBundles()).toEqual(await first.caBundles());
    await expect(startRegistration({ joinUrl, token: ["a-secret", "b-secret"] })).rejects.toMatchObject({
      code: "token/rejected",
      message: expect.stringMatching(/accepts none of the 2 server tokens$/),
    });
  });

  it("is refused with a wrong token, an agent token or none", async () => {
    const { registration: first } = await startRegistration({ token: "server-secret", agentToken: "agent-secret" });
    const joinUrl = await serve(first);
    await expect(startRegistration({ joinUrl, token: "wrong-secret" })).rejects.toMatchObject({
      code: "token/rejected",
    });
    await expect(startRegistration({ joinUrl, token: "agent-secret" })).rejects.toMatchObject({
      code: "token/rejected",
    });
    await expect(startRegistration({ joinUrl })).rejects.toMatchObject({ code: "token/required" });
  });

  it("says how far its clock is from the other server's", async () => {
    const { registration: first } = await startRegistration({ token: "server-secret" });
    const joinUrl = await serve(first, { date: new Date(Date.now() - 60_000).toUTCString() });
    const lines: string[] = [];
    const log = createLogger({ name: "test", destination: { write: (line) => lines.push(line) } });
    await startRegistration({ joinUrl, token: first.serverToken }, { log });
    expect(lines.join("")).toMatch(/clock of this host is (59|60)\.\d s ahead of the server's/);
    expect(lines.join("")).not.toContain("server-secret");
  });
});
