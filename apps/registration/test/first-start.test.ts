import { execFileSync } from "node:child_process";
import { readFile, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import { hashCaBundle } from "@keelson/secret-format";
import { describe, expect, it } from "vitest";
import { startRegistration } from "./support/fixture.ts";

describe("the first start", () => {
  it("lays the server's files out as K3s does, with their modes", async () => {
    const { dataDir } = await startRegistration({ token: "server-secret", agentToken: "agent-secret" });
    const modes: Record<string, string> = {
      server: "700",
      "server/cred": "700",
      "server/cred/admin.kubeconfig": "644",
      "server/cred/api-server.kubeconfig": "644",
      "server/cred/cloud-controller.kubeconfig": "644",
      "server/cred/controller.kubeconfig": "644",
      "server/cred/scheduler.kubeconfig": "644",
      "server/cred/ipsec.psk": "600",
      "server/cred/passwd": "600",
      "server/tls": "700",
      "server/tls/client-ca.crt": "644",
      "server/tls/client-ca.key": "600",
      "server/tls/etcd/peer-ca.key": "600",
      "server/tls/service.key": "600",
      "server/tls/client-kubelet.key": "600",
      "server/tls/serving-kubelet.key": "600",
      "server/token": "600",
      "server/agent-token": "600",
    };
    for (const [path, mode] of Object.entries(modes)) {
      expect(`${path} ${((await stat(join(dataDir, path))).mode & 0o777).toString(8)}`).toBe(`${path} ${mode}`);
    }
    const caHash = hashCaBundle(await readFile(join(dataDir, "server/tls/server-ca.crt")));
    expect(await readFile(join(dataDir, "server/token"), "utf8")).toBe(`K10${caHash}::server:server-secret\n`);
    expect(await readFile(join(dataDir, "server/agent-token"), "utf8")).toBe(`K10${caHash}::node:agent-secret\n`);
    expect(await readlink(join(dataDir, "server/node-token"))).toBe(join(dataDir, "server/token"));
    expect(await readFile(join(dataDir, "server/cred/passwd"), "utf8")).toBe(
      "agent-secret,node,node,k3s:agent\nserver-secret,server,server,k3s:server\n",
    );
  });

  it("keeps everything at the second start, and draws a token when none is given", async () => {
    const first = await startRegistration();
    await first.registration.stop();
    const second = await startRegistration({ dataDir: first.dataDir });
    expect(second.registration.serverToken).toBe(first.registration.serverToken);
    expect(first.registration.serverToken).toMatch(/^K10[0-9a-f]{64}::server:[0-9a-f]{32}$/);
    expect(await readlink(join(first.dataDir, "server/agent-token"))).toBe(join(first.dataDir, "server/token"));
  });

  it("makes certificates that OpenSSL accepts for their purposes", async () => {
    const { registration } = await startRegistration();
    const verify = (ca: string, file: string, purpose: string): string =>
      execFileSync(
        "openssl",
        [
          "verify",
          "-purpose",
          purpose,
          "-CAfile",
          registration.paths.certificate(ca),
          registration.paths.certificate(file),
        ],
        { encoding: "utf8" },
      );
    expect(verify("client-ca", "client-admin", "sslclient")).toContain(": OK");
    expect(verify("request-header-ca", "client-auth-proxy", "sslclient")).toContain(": OK");
    expect(verify("server-ca", "serving-kube-apiserver", "sslserver")).toContain(": OK");
    expect(verify("etcd/server-ca", "etcd/server-client", "sslserver")).toContain(": OK");
    expect(verify("etcd/peer-ca", "etcd/peer-server-client", "sslclient")).toContain(": OK");
  });

  it("refuses a token that is not this cluster's, before it touches a file", async () => {
    const { dataDir, registration } = await startRegistration({ token: "server-secret" });
    await registration.stop();
    const before = await readFile(join(dataDir, "server/cred/passwd"), "utf8");
    await expect(startRegistration({ dataDir, token: "another-secret" })).rejects.toThrow(
      "the configured token is not the token of this cluster",
    );
    expect(await readFile(join(dataDir, "server/cred/passwd"), "utf8")).toBe(before);
  });
});
