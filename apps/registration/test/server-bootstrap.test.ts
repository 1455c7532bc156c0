import { execFileSync } from "node:child_process";
import { copyFile, mkdir, readFile, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { grpcStatus, RpcError } from "@keelson/protocol/etcd";
import { bootstrapKey, sealBootstrap } from "@keelson/secret-format";
import { createLogger, ManualClock, silentLogger, withDefaults } from "@keelson/service";
import { describe, expect, it } from "vitest";
import { ClusterBootstrap } from "../src/bootstrap/cluster-bootstrap.ts";
import { Registration } from "../src/registration.ts";
import { serverPaths } from "../src/server-paths.ts";
import { FakeCluster } from "./support/fake-cluster.ts";
import { startRegistration, temporaryFolder } from "./support/fixture.ts";
import { MemoryEnvelopes } from "./support/memory-envelopes.ts";

const shared = { token: "cluster-secret", sharedDatastore: true };

describe("servers on one datastore", () => {
  it("have one identity: the first founds the cluster, the others take it over", async () => {
    const envelopes = new MemoryEnvelopes();
    const first = await startRegistration({ ...shared, agentToken: "agent-secret" }, { envelopes });
    const second = await startRegistration(shared, { envelopes });
    expect(await second.registration.caBundles()).toEqual(await first.registration.caBundles());
    expect(second.registration.serverToken).toBe(first.registration.serverToken);
    const read = (dataDir: string, file: string): Promise<string> => readFile(join(dataDir, "server", file), "utf8");
    for (const file of ["tls/service.key", "tls/client-ca.key", "cred/passwd", "cred/ipsec.psk"]) {
      expect(await read(second.dataDir, file)).toBe(await read(first.dataDir, file));
    }
  });

  it("found one cluster when they all start at the same moment", async () => {
    const envelopes = new MemoryEnvelopes();
    const servers = await Promise.all(Array.from({ length: 4 }, () => startRegistration(shared, { envelopes })));
    const bundles = await Promise.all(servers.map(({ registration }) => registration.caBundles()));
    expect(new Set(bundles.map(({ serverCaPem }) => serverCaPem)).size).toBe(1);
    expect(envelopes.values.size).toBe(1);
  });

  it("wait for a datastore that is away, and say so once", async () => {
    const envelopes = new MemoryEnvelopes();
    envelopes.failure = new RpcError(grpcStatus.unavailable, "cannot connect to https://192.0.2.7:2379");
    const lines: string[] = [];
    const log = createLogger({ name: "test", destination: { write: (line) => lines.push(line) } });
    const server = startRegistration(shared, { envelopes, log });
    await expect.poll(() => lines.join("")).toContain("waiting for the datastore");
    envelopes.failure = undefined;
    await server;
    expect(lines.filter((line) => line.includes("the datastore"))).toEqual([
      expect.stringContaining("192.0.2.7"),
      expect.stringContaining("the datastore is there"),
    ]);
  });

  it("stop at once while they wait for their datastore", async () => {
    const envelopes = new MemoryEnvelopes();
    envelopes.failure = new RpcError(grpcStatus.unavailable, "away");
    const services = withDefaults({});
    const registration = new Registration(
      { ...shared, dataDir: await temporaryFolder(), nodeName: "server-1", nodeIps: [], httpsPort: 6443 },
      { ...services, clusterApi: new FakeCluster(services.clock), envelopes },
    );
    const started = registration.start();
    await registration.stop();
    await expect(started).rejects.toMatchObject({ code: "registration/stopped" });
  });

  it("take over from a founder that died with the lock in its hand", async () => {
    const envelopes = new MemoryEnvelopes();
    await envelopes.create(bootstrapKey("cluster-secret"), "");
    const clock = new ManualClock();
    const bootstrap = new ClusterBootstrap(envelopes, serverPaths(await temporaryFolder()), clock, silentLogger);
    const role = bootstrap.obtain(["cluster-secret"]);
    for (let second = 0; second < 5; second++) {
      await expect.poll(() => clock.pendingTimers).toBe(1);
      clock.advance(1_000);
    }
    expect(await role).toEqual({ role: "founder", token: "cluster-secret" });
  });

  it("are told which envelope is there, and what to do, when the token is another one or missing", async () => {
    const envelopes = new MemoryEnvelopes();
    await startRegistration(shared, { envelopes });
    const start = (token: string | string[] | undefined) =>
      startRegistration({ sharedDatastore: true, ...(token === undefined ? {} : { token }) }, { envelopes });
    await expect(start("other-secret")).rejects.toMatchObject({
      code: "bootstrap/other-token",
      message: expect.stringContaining(bootstrapKey("cluster-secret")),
      hint: expect.stringContaining("--token <new> --token <old>"),
    });
    await expect(start("other-secret")).rejects.toThrow(bootstrapKey("other-secret"));
    await expect(start("other-secret")).rejects.not.toThrow("other-secret");
    await expect(start(undefined)).rejects.toMatchObject({ code: "token/required" });
    // Several tokens are tried in turn.
    expect((await start(["other-secret", "cluster-secret"])).registration.serverToken).toMatch(/cluster-secret$/);
  });

  it("try several tokens in turn, and run on the one that opens the envelope", async () => {
    const envelopes = new MemoryEnvelopes();
    const first = await startRegistration(shared, { envelopes });
    const tokens = ["newest-secret", "newer-secret", "cluster-secret"];
    const second = await startRegistration({ ...shared, token: tokens }, { envelopes });
    expect(second.registration.serverToken).toBe(first.registration.serverToken);
    expect([...envelopes.values.keys()]).toEqual([bootstrapKey("cluster-secret")]);
  });

  it("name the envelope that was damaged", async () => {
    const envelopes = new MemoryEnvelopes();
    await envelopes.create(bootstrapKey("cluster-secret"), sealBootstrap("another", "{}"));
    await expect(startRegistration(shared, { envelopes })).rejects.toMatchObject({
      code: "bootstrap/damaged",
      message: expect.stringContaining(bootstrapKey("cluster-secret")),
    });
  });

  it("move an envelope from before keys were derived from tokens", async () => {
    const [old, envelopes] = [new MemoryEnvelopes(), new MemoryEnvelopes()];
    const first = await startRegistration(shared, { envelopes: old });
    const json = await first.registration.serverBootstrap();
    if (!json.ok) throw new Error(json.refusal.message);
    await envelopes.create(bootstrapKey(""), sealBootstrap("", json.value));
    const second = await startRegistration(shared, { envelopes });
    expect(await second.registration.caBundles()).toEqual(await first.registration.caBundles());
    expect([...envelopes.values.keys()]).toEqual([bootstrapKey("cluster-secret")]);
  });

  it("refuse a local file that is newer than the cluster's copy, and overwrite one that is older", async () => {
    const envelopes = new MemoryEnvelopes();
    const { registration, dataDir } = await startRegistration(shared, { envelopes });
    await registration.stop();
    const psk = registration.paths.ipsecKey;
    const original = await readFile(psk, "utf8");
    await writeFile(psk, "edited\n");
    const later = Date.now() / 1_000 + 60;
    await utimes(psk, later, later);
    await expect(startRegistration({ ...shared, dataDir }, { envelopes })).rejects.toThrow(
      `${psk} is newer than datastore and could cause a cluster outage`,
    );
    await utimes(psk, later - 3_600, later - 3_600);
    await startRegistration({ ...shared, dataDir }, { envelopes });
    expect(await readFile(psk, "utf8")).toBe(original);
  });

  it("start from CAs that were put there before the first start, intermediates included, and share them", async () => {
    const dataDir = await temporaryFolder();
    const tls = serverPaths(dataDir).tls;
    await mkdir(tls, { recursive: true });
    const openssl = (...args: string[]): Buffer => execFileSync("openssl", args, { cwd: tls, stdio: "pipe" });
    const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    await writeFile(
      join(tls, "ext"),
      "basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n",
    );
    openssl(
      "req",
      "-x509",
      ...ec,
      "-keyout",
      "root.key",
      "-out",
      "root.crt",
      "-days",
      "30",
      "-subj",
      "/CN=company-root",
    );
    openssl("req", "-new", ...ec, "-keyout", "server-ca.key", "-out", "ca.csr", "-subj", "/CN=company-servers");
    openssl(
      "x509",
      "-req",
      "-in",
      "ca.csr",
      "-CA",
      "root.crt",
      "-CAkey",
      "root.key",
      "-CAcreateserial",
      "-out",
      "ca.crt",
      "-days",
      "30",
      "-extfile",
      "ext",
    );
    await writeFile(
      join(tls, "server-ca.crt"),
      (await readFile(join(tls, "ca.crt"), "utf8")) + (await readFile(join(tls, "root.crt"), "utf8")),
    );
    await copyFile(join(tls, "root.crt"), join(dataDir, "root.crt"));
    const envelopes = new MemoryEnvelopes();
    const { registration } = await startRegistration({ ...shared, dataDir }, { envelopes });
    const verify = [
      "verify",
      "-purpose",
      "sslserver",
      "-CAfile",
      "root.crt",
      "-untrusted",
      "ca.crt",
      "serving-kube-apiserver.crt",
    ];
    expect(openssl(...verify).toString()).toContain("OK");
    // The pin is the root's, so that the intermediate can be replaced later.
    const rootHash = openssl("x509", "-in", "root.crt", "-noout", "-fingerprint", "-sha256").toString().split("=")[1]!;
    expect(registration.serverToken).toContain(`K10${rootHash.trim().replaceAll(":", "").toLowerCase()}::`);
    const second = await startRegistration(shared, { envelopes });
    expect(await second.registration.caBundles()).toEqual(await registration.caBundles());
  });
});
