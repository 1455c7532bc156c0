import { createPublicKey } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import { KubeError } from "@keelson/kube-client";
import {
  createCertificateRequest,
  generateEcKey,
  importPrivateKey,
  readBundle,
  splitCertificateAndKey,
} from "@keelson/pki";
import { hashNodePassword, nodePasswordSecretName, verifyNodePassword } from "@keelson/secret-format";
import { createLogger, ManualClock } from "@keelson/service";
import { describe, expect, it } from "vitest";
import type { Registration } from "../src/registration.ts";
import { agentIdentity, nodeIdentity, startRegistration } from "./support/fixture.ts";

const password = "0123456789abcdef0123456789abcdef";

describe("a kubelet certificate", () => {
  it("takes the name on first use and asks for the same password ever after", async () => {
    const { registration, cluster } = await startRegistration();
    const request = { kind: "client-kubelet", caller: agentIdentity } as const;
    const first = await registration.issueCertificate({ ...request, node: { name: "Agent-1", password } });
    expect(first.ok).toBe(true);
    const secret = cluster.secrets.get("agent-1.node-password.k3s");
    expect(secret).toMatchObject({ type: "k3s.cattle.io/node-password", immutable: true });
    const hash = Buffer.from(secret!.data!.hash!, "base64").toString();
    expect(hash).toMatch(/^\$1:[0-9a-f]{16}:15:8:1:[A-Za-z0-9+/]{86}$/);
    expect(await verifyNodePassword(hash, password)).toBe(true);
    expect((await registration.issueCertificate({ ...request, node: { name: "agent-1", password } })).ok).toBe(true);
    const other = await registration.issueCertificate({ ...request, node: { name: "agent-1", password: "wrong" } });
    expect(other).toMatchObject({
      ok: false,
      refusal: { status: 403, message: "unable to verify hash for node 'agent-1': hash does not match" },
    });
    expect(other.ok ? "" : other.refusal.hint).toContain("kube-system/agent-1.node-password.k3s");
    expect(other.ok ? "" : other.refusal.hint).toContain("keelson node release agent-1");
  });

  it("answers a request of the agent's own key without a key, and no request with the shared one", async () => {
    const { registration } = await startRegistration();
    const key = await generateEcKey();
    const node = { name: "agent-1", password, ips: "192.0.2.7,fd00::7" };
    const own = await registration.issueCertificate({
      kind: "serving-kubelet",
      caller: agentIdentity,
      node,
      csrDer: createCertificateRequest(key),
    });
    if (!own.ok) throw new Error(own.refusal.message);
    const [leaf, ca] = readBundle(own.value);
    expect(own.value).not.toContain("PRIVATE KEY");
    expect(leaf!.publicKeyDer.equals(createPublicKey(key).export({ type: "spki", format: "der" }))).toBe(true);
    expect(leaf).toMatchObject({
      commonName: "agent-1",
      extendedKeyUsage: ["server"],
      dnsNames: ["agent-1", "localhost"],
    });
    expect(leaf!.ipAddresses.map((bytes) => bytes.toString("hex"))).toEqual([
      "7f000001",
      "c0000207",
      "fd000000000000000000000000000007",
    ]);
    expect(ca!.isCa).toBe(true);
    const legacy = await registration.issueCertificate({ kind: "client-kubelet", caller: agentIdentity, node });
    if (!legacy.ok) throw new Error(legacy.refusal.message);
    const { certificatesPem, keyPem } = splitCertificateAndKey(legacy.value);
    const [client] = readBundle(certificatesPem);
    expect(client).toMatchObject({ commonName: "system:node:agent-1", organizations: ["system:nodes"] });
    const shared = createPublicKey(importPrivateKey(keyPem!)).export({ type: "spki", format: "der" });
    expect(client!.publicKeyDer.equals(shared)).toBe(true);
  });

  it("is refused in the order of the protocol", async () => {
    const { registration, cluster } = await startRegistration();
    cluster.addNode("agent-1");
    const ask = async (
      node: object,
      caller: typeof agentIdentity | ReturnType<typeof nodeIdentity> = agentIdentity,
    ) => {
      const answer = await registration.issueCertificate({ kind: "client-kubelet", caller, node });
      return answer.ok ? "200" : `${answer.refusal.status} ${answer.refusal.message}`;
    };
    expect(await ask({})).toBe("400 node name not set");
    expect(await ask({ name: "agent-1" })).toBe("400 node password not set");
    expect(await ask({ password })).toBe("400 node name not set");
    expect(await ask({ name: "a/b", password })).toMatch(/^403 invalid node name/);
    expect(await ask({ name: "agent-2", password }, nodeIdentity("agent-1"))).toBe(
      "400 header node name does not match auth node name",
    );
    expect(await ask({ name: "agent-3", password }, nodeIdentity("agent-3"))).toMatch(/^401 /);
    expect(await ask({ name: "agent-1", password }, nodeIdentity("agent-1"))).toBe("200");
    cluster.ready = false;
    expect(await ask({ name: "agent-9", password })).toBe("503 runtime core not ready");
  });

  it("accepts while the API fails, checks later and says the result on the Node", async () => {
    const { registration, cluster } = await startRegistration();
    const stored = await hashNodePassword(password);
    cluster.failure = new KubeError(500, "InternalError", "webhook is down");
    const request = { kind: "client-kubelet", caller: agentIdentity } as const;
    const early = await registration.issueCertificate({ ...request, node: { name: "agent-1", password: "impostor" } });
    expect(early.ok).toBe(true);
    cluster.failure = undefined;
    cluster.secrets.set("agent-1.node-password.k3s", {
      metadata: { name: nodePasswordSecretName("agent-1") },
      data: { hash: Buffer.from(stored).toString("base64") },
    });
    cluster.addNode("agent-1");
    await registration.runDeferredChecks();
    expect(cluster.events).toMatchObject([{ reason: "NodePasswordValidationFailed", type: "Warning" }]);
  });

  it("is refused when the API will not have its Secret, and such a node keeps no other from being checked", async () => {
    const { registration, cluster } = await startRegistration();
    const ask = async (name: string, secret: string): Promise<number> => {
      const node = { name, password: secret };
      const answer = await registration.issueCertificate({ kind: "client-kubelet", caller: agentIdentity, node });
      return answer.ok ? 200 : answer.refusal.status;
    };
    expect(await ask("a".repeat(235), password)).toBe(200); // the Secret's name has the 253 characters that it may have
    expect(await ask("a".repeat(236), password)).toBe(403);
    expect(await ask("victim", password)).toBe(200);
    cluster.addNode("victim");
    const away = new KubeError(0, "", "cannot reach the Kubernetes API");
    const invalid = new KubeError(422, "Invalid", "metadata.name: invalid");
    const broken = new KubeError(500, "InternalError", "webhook is down");
    cluster.failure = invalid;
    expect(await ask("another", password)).toBe(500);
    for (const failure of [invalid, broken]) {
      cluster.failure = away;
      expect(await ask("poison", password)).toBe(200);
      expect(await ask("victim", "impostor")).toBe(200);
      cluster.failure = undefined;
      cluster.failures.set("poison.node-password.k3s", failure);
      cluster.events.length = 0;
      await registration.runDeferredChecks();
      expect(cluster.events).toMatchObject([{ node: { name: "victim" }, reason: "NodePasswordValidationFailed" }]);
    }
  });

  it("is refused while the stored hash is damaged or missing: that is no reason to let anybody in", async () => {
    const { registration, cluster } = await startRegistration();
    const request = { kind: "client-kubelet", caller: agentIdentity, node: { name: "agent-1", password } } as const;
    for (const hash of ["garbage", "$1:0011223344556677:40:8:1:AAAA", ""]) {
      const data = { hash: Buffer.from(hash).toString("base64") };
      cluster.secrets.set("agent-1.node-password.k3s", { metadata: { name: nodePasswordSecretName("agent-1") }, data });
      const answer = await registration.issueCertificate(request);
      expect(answer).toMatchObject({ ok: false, refusal: { status: 403 } });
    }
    cluster.secrets.set("agent-1.node-password.k3s", { metadata: { name: nodePasswordSecretName("agent-1") } });
    expect(await registration.issueCertificate(request)).toMatchObject({ ok: false, refusal: { status: 403 } });
  });

  it("gives an old Secret of type Opaque the new type, with the same hash", async () => {
    const { registration, cluster } = await startRegistration();
    const data = { hash: Buffer.from(await hashNodePassword(password)).toString("base64") };
    const metadata = { name: nodePasswordSecretName("agent-1"), uid: "old" };
    cluster.secrets.set("agent-1.node-password.k3s", { metadata, type: "Opaque", data, immutable: true });
    const node = { name: "agent-1", password };
    expect((await registration.issueCertificate({ kind: "client-kubelet", caller: agentIdentity, node })).ok).toBe(
      true,
    );
    expect(cluster.secrets.get("agent-1.node-password.k3s")).toMatchObject({
      type: "k3s.cattle.io/node-password",
      data,
      immutable: true,
    });
  });

  it("hashes once for many requests with one new name, and once for each guess at a taken one", async () => {
    const { registration, cluster } = await startRegistration();
    const request = { kind: "client-kubelet", caller: agentIdentity } as const;
    const answers = await Promise.all(
      Array.from({ length: 20 }, () =>
        registration.issueCertificate({ ...request, node: { name: "agent-1", password } }),
      ),
    );
    expect(answers.every((answer) => answer.ok)).toBe(true);
    expect(cluster.secrets.size).toBe(1);
    const guesses = await Promise.all(
      Array.from({ length: 20 }, (_, guess) =>
        registration.issueCertificate({ ...request, node: { name: "agent-1", password: `guess-${guess}` } }),
      ),
    );
    const statuses = guesses.map((answer) => (answer.ok ? 200 : answer.refusal.status));
    expect(new Set(statuses)).toEqual(new Set([403, 429]));
    expect(statuses.filter((status) => status === 403)).toHaveLength(1);
  });

  it("costs no hash after a restart for whom was verified before it, unless the kept file is another cluster's", async () => {
    const { registration, cluster, dataDir } = await startRegistration();
    const issue = (server: Registration, password: string) =>
      server.issueCertificate({ kind: "client-kubelet", caller: agentIdentity, node: { name: "agent-1", password } });
    expect((await issue(registration, "password-1")).ok).toBe(true);
    await registration.stop();
    const file = registration.paths.verifiedNodePasswords;
    const kept = await readFile(file, "utf8");
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(kept).not.toContain("password-1");
    expect(kept).not.toContain(cluster.secrets.get("agent-1.node-password.k3s")!.data!.hash);

    // No hash can be computed here: what is not remembered is turned away.
    const full = { dataDir, hashConcurrency: 0, maxWaitingHashes: 0 };
    const { registration: again } = await startRegistration(full, { clusterApi: cluster });
    expect((await issue(again, "password-1")).ok).toBe(true);
    expect(await issue(again, "password-2")).toMatchObject({ refusal: { status: 429 } });
    await again.stop();

    const other = await startRegistration({ hashConcurrency: 0, maxWaitingHashes: 0 }, { clusterApi: cluster });
    await other.registration.stop();
    await writeFile(other.registration.paths.verifiedNodePasswords, kept);
    const { registration: foreign } = await startRegistration(
      { dataDir: other.dataDir, hashConcurrency: 0, maxWaitingHashes: 0 },
      { clusterApi: cluster },
    );
    expect(await issue(foreign, "password-1")).toMatchObject({ refusal: { status: 429 } });
  });

  it("turns requests away with Retry-After when too many hashes wait", async () => {
    const { registration } = await startRegistration({
      hashConcurrency: 1,
      maxWaitingHashes: 1,
      provisionalAfterMs: 60_000,
    });
    const answers = await Promise.all(
      Array.from({ length: 4 }, (_, index) =>
        registration.issueCertificate({
          kind: "client-kubelet",
          caller: agentIdentity,
          node: { name: `agent-${index}`, password },
        }),
      ),
    );
    const busy = answers.flatMap((answer) => (answer.ok ? [] : [answer.refusal]));
    expect(busy).toHaveLength(2);
    for (const refusal of busy) {
      expect(refusal.status).toBe(429);
      expect(refusal.retryAfterSeconds).toBeGreaterThanOrEqual(1);
    }
  });

  it("claims names with a provisional hash in a storm, and hardens them after it", async () => {
    const clock = new ManualClock(Date.now());
    const { registration, cluster } = await startRegistration({ provisionalAfterMs: 0, hashConcurrency: 1 }, { clock });
    const names = Array.from({ length: 6 }, (_, index) => `agent-${index}`);
    const join = async (name: string, secret = password): Promise<number> => {
      const node = { name, password: secret };
      const answer = await registration.issueCertificate({ kind: "client-kubelet", caller: agentIdentity, node });
      return answer.ok ? 200 : answer.refusal.status;
    };
    const stored = (name: string) => cluster.secrets.get(nodePasswordSecretName(name))!;
    expect(await Promise.all(names.map((name) => join(name)))).toEqual(names.map(() => 200));
    const provisional = names.filter((name) => stored(name).immutable === undefined);
    expect(provisional.length).toBeGreaterThan(0);
    // A claim is a claim from the first moment on.
    expect(await join(provisional.at(-1)!, "another")).toBe(403);
    clock.advance(9_000);
    expect(stored(provisional.at(-1)!).immutable).toBeUndefined(); // nothing is hashed in full while the storm may go on
    clock.advance(1_000);
    await expect.poll(() => names.every((name) => stored(name).immutable), { timeout: 10_000 }).toBe(true);
    for (const name of names)
      expect(Buffer.from(stored(name).data!.hash!, "base64").toString()).toMatch(/^\$1:[0-9a-f]{16}:15:/);
    expect(await join(names[0]!)).toBe(200);
    expect(await join(names[0]!, "another")).toBe(403);
  });

  it("is full at once for a handful of nodes, and for one that a stopped server left provisional at its next request", async () => {
    const clock = new ManualClock(Date.now());
    const { registration, cluster, dataDir } = await startRegistration(
      { hashConcurrency: 2, provisionalAfterMs: 60_000 },
      { clock },
    );
    const names = Array.from({ length: 8 }, (_, index) => `agent-${index}`);
    const join = async (server: Registration, name: string): Promise<boolean> =>
      (
        await server.issueCertificate({
          ...{ kind: "client-kubelet", caller: agentIdentity },
          node: { name, password },
        })
      ).ok;
    const isFull = (name: string) => cluster.secrets.get(nodePasswordSecretName(name))!.immutable === true;
    await Promise.all(names.map((name) => join(registration, name)));
    expect(names.every(isFull)).toBe(true);
    await registration.stop();
    const storm = { dataDir, provisionalAfterMs: -1 };
    const hurried = await startRegistration(storm, { clock, clusterApi: cluster });
    expect(await join(hurried.registration, "late")).toBe(true);
    expect(isFull("late")).toBe(false);
    await hurried.registration.stop();

    const lines: string[] = [];
    const log = createLogger({ name: "test", destination: { write: (line) => lines.push(line) } });
    const again = await startRegistration({ dataDir }, { clock, clusterApi: cluster, log });
    cluster.addNode("late");
    clock.advance(660_000);
    await expect.poll(() => lines.join("")).toMatch(/stayed provisional.*"late"/);
    expect(await join(again.registration, "late")).toBe(true);
    cluster.failure = new KubeError(0, "", "the API is away");
    clock.advance(10_000);
    await expect.poll(() => lines.join("")).toContain("keeps its provisional hash for now");
    cluster.failure = undefined;
    const hardened = (): boolean => {
      clock.advance(10_000);
      return isFull("late");
    };
    await expect.poll(hardened, { timeout: 5_000 }).toBe(true);
  });
});
