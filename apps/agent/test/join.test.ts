import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeServer } from "./support/fake-server.ts";
import { startAgent } from "./support/start-agent.ts";

let server: FakeServer;

beforeEach(async () => {
  server = await FakeServer.create();
  await server.listen();
});

afterEach(() => server.close());

const nodePath = "/api/v1/nodes/node-a";
const leasePath = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-a";

describe("an agent that joins", () => {
  test("has its files, its tunnel, its Node and its Lease", async () => {
    await using started = await startAgent({ servers: [server.url], token: server.token });
    const { agent, dataDir } = started;
    await agent.ready;

    for (const name of ["client-kubelet", "serving-kubelet", "client-kube-proxy", "client-k3s-controller"]) {
      expect((await stat(join(dataDir, "agent", `${name}.key`))).mode & 0o777).toBe(0o600);
      expect(await readFile(join(dataDir, "agent", `${name}.crt`), "utf8")).toContain("BEGIN CERTIFICATE");
    }
    const kubeconfig = await readFile(join(dataDir, "agent", "kubelet.kubeconfig"), "utf8");
    expect(kubeconfig).toContain(`server: ${agent.loadBalancerUrl}`);
    expect(await readFile(join(dataDir, "node", "password"), "utf8")).toMatch(/^[0-9a-f]{32}\n$/);

    expect(server.objects.get(nodePath)).toMatchObject({
      metadata: { labels: { "kubernetes.io/hostname": "node-a" }, annotations: { "k3s.io/internal-ip": "192.0.2.7" } },
      status: {
        addresses: [
          { type: "InternalIP", address: "192.0.2.7" },
          { type: "Hostname", address: "node-a" },
        ],
      },
    });
    expect(server.objects.get(leasePath)).toMatchObject({
      spec: { holderIdentity: "node-a", leaseDurationSeconds: 40 },
    });
    expect(server.sessions).toHaveLength(1);

    const status = agent.status();
    expect(status).toMatchObject({
      token: "accepted",
      join: { state: "joined" },
      node: { keeper: "agent", state: "ready" },
      problems: [],
    });
    expect(status.tunnels).toMatchObject([{ address: `127.0.0.1:${server.port}`, state: "open", peer: "keelson" }]);
    expect(JSON.parse(await askSocket(join(dataDir, "agent", "status.sock")))).toMatchObject({ nodeName: "node-a" });
  });

  test("says that a token without the CA's hash takes the CA on trust", async () => {
    await using pinned = await startAgent({ servers: [server.url], token: server.token });
    await pinned.agent.ready;
    expect(pinned.log.join("")).not.toContain("on trust");
    await using short = await startAgent({ servers: [server.url], token: "agent-secret", nodeName: "node-b" });
    await short.agent.ready;
    expect(short.log.join("")).toContain("does not name the cluster's CA");
  });

  test("keeps its keys and its password when it starts again", async () => {
    const first = await startAgent({ servers: [server.url], token: server.token });
    await first.agent.ready;
    const { dataDir } = first;
    const keyFile = join(dataDir, "agent", "client-kubelet.key");
    const key = await readFile(keyFile, "utf8");
    await first.agent.stop();
    await using second = await startAgent({ servers: [server.url], token: server.token, dataDir });
    await second.agent.ready;
    expect(await readFile(keyFile, "utf8")).toBe(key);
    await first[Symbol.asyncDispose]();
  });

  test("needs no token any more once it has a certificate: bootstrap tokens end, others are rotated", async () => {
    const first = await startAgent({ servers: [server.url], token: server.token });
    await first.agent.ready;
    server.acceptsToken = false;
    await first.agent.stop();
    const { dataDir } = first;
    await using second = await startAgent({ servers: [server.url], token: server.token, dataDir });
    await second.agent.ready;
    expect(second.agent.status()).toMatchObject({ token: "accepted", problems: [] });
    await first[Symbol.asyncDispose]();
  });

  test("joins with its token where the servers do not know its certificate", async () => {
    const first = await startAgent({ servers: [server.url], token: server.token });
    await first.agent.ready;
    server.acceptsCertificates = false;
    await first.agent.stop();
    const { dataDir } = first;
    await using second = await startAgent({ servers: [server.url], token: server.token, dataDir });
    await second.agent.ready;
    await first[Symbol.asyncDispose]();
  });

  test("appends a kept id to its name with --with-node-id", async () => {
    await using started = await startAgent({ servers: [server.url], token: server.token, withNodeId: true });
    await started.agent.ready;
    const id = (await readFile(join(started.dataDir, "node", "id"), "utf8")).trim();
    expect(started.agent.nodeName).toBe(`node-a-${id}`);
    expect(server.objects.has(`${nodePath}-${id}`)).toBe(true);
  });
});

describe("an agent that cannot join says why in one sentence, and goes on trying", () => {
  const lines = (log: readonly string[]): string[] => log.filter((line) => line.includes("cannot join"));

  test("a token the server does not accept", async () => {
    server.acceptsToken = false;
    await using started = await startAgent({ servers: [server.url], token: server.token });
    await expect.poll(() => started.agent.status().token).toBe("rejected");
    expect(started.agent.status().problems).toMatchObject([
      { what: expect.stringContaining("not in the cluster yet") },
    ]);
    await expect.poll(() => server.requests.filter(({ path }) => path === "/v1-k3s/config").length).toBeGreaterThan(1);
    expect(lines(started.log)).toHaveLength(1);
    expect(lines(started.log)[0]).toContain("the server does not accept this token");
    expect(lines(started.log)[0]).not.toContain("agent-secret");
    server.acceptsToken = true;
    await started.agent.ready;
    expect(started.agent.status().problems).toEqual([]);
  });

  test("a token file that holds no token, until it does", async () => {
    const tokenFile = join(await mkdtemp(join(tmpdir(), "keelson-token-")), "token");
    await writeFile(tokenFile, "K10zzz::server:x");
    await using started = await startAgent({ servers: [server.url], token: undefined, tokenFile });
    await expect.poll(() => started.agent.status().problems[0]?.what).toMatch(/token file .* holds no token/);
    expect(started.log.join("")).not.toContain("K10zzz");
    await writeFile(tokenFile, server.token);
    await started.agent.ready;
    await rm(dirname(tokenFile), { recursive: true });
  });

  test("a token of another cluster: nothing secret is sent", async () => {
    const token = server.token.replace(/^K10[0-9a-f]{64}/, `K10${"0".repeat(64)}`);
    await using started = await startAgent({ servers: [server.url], token });
    await expect.poll(() => lines(started.log).length).toBe(1);
    expect(lines(started.log)[0]).toContain("token CA hash does not match the Cluster CA certificate hash: 000");
    expect(server.requests.every(({ authorization }) => authorization === undefined)).toBe(true);
  });

  test("a name that another host holds: the Secret, and how to release it", async () => {
    server.nodePasswords.set("node-a", "somebody else's");
    await using started = await startAgent({ servers: [server.url], token: server.token });
    await expect.poll(() => lines(started.log).length).toBe(1);
    for (const words of [
      "node password rejected",
      "kube-system/node-a.node-password.k3s",
      "kubectl delete node node-a",
      "keelson node release node-a",
    ]) {
      expect(lines(started.log)[0]).toContain(words);
    }
    server.nodePasswords.delete("node-a");
    await started.agent.ready;
  });

  test("a server that does not run: the address and the reason; the agent joins when it comes", async () => {
    await server.close();
    await using started = await startAgent({ servers: [server.url], token: server.token });
    await expect.poll(() => lines(started.log).length).toBe(1);
    expect(lines(started.log)[0]).toContain(`no server answers: 127.0.0.1:${server.port}`);
    expect(lines(started.log)[0]).toContain("ECONNREFUSED");
    expect(started.agent.status().problems[0]?.what).toContain("no server answers");
    await server.listen();
    await started.agent.ready;
  });

  test("a second registration address serves when the first does not", async () => {
    const gone = "https://127.0.0.1:1";
    await using started = await startAgent({ servers: [gone, server.url], token: server.token });
    await started.agent.ready;
  });

  test("a malformed token or a busy port ends the start with a clear error", async () => {
    await expect(startAgent({ servers: [server.url], token: "K10::" })).rejects.toThrow("invalid token format");
    await using started = await startAgent({ servers: [server.url], token: server.token });
    const lbPort = Number(new URL(started.agent.loadBalancerUrl).port);
    await expect(startAgent({ servers: [server.url], token: server.token, lbPort })).rejects.toThrow(
      `load balancer cannot listen on 127.0.0.1:${lbPort}`,
    );
  });
});

test("a token file may come later", async () => {
  const other = await startAgent({ servers: [server.url], token: server.token });
  const tokenFile = join(other.dataDir, "token");
  const { token: _, ...rest } = { servers: [server.url], token: "" };
  await using started = await startAgent({ ...rest, tokenFile, nodeName: "node-b" } as Parameters<
    typeof startAgent
  >[0]);
  await writeFile(tokenFile, `${server.token}\n`);
  await started.agent.ready;
  await other[Symbol.asyncDispose]();
});

function askSocket(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const req = request({ socketPath, path: "/status" }, async (res) => {
      let text = "";
      for await (const chunk of res) text += chunk;
      resolve(text);
    });
    req.once("error", reject);
    req.end();
  });
}
