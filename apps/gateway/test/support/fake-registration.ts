import type { KeyObject } from "node:crypto";
import { createPublicKey } from "node:crypto";
import {
  Authority,
  admitListenerNames,
  createCaCertificate,
  exportPrivateKey,
  generateEcKey,
  readCertificateRequest,
} from "@keelson/pki";
import {
  type Authentication,
  accepted,
  groups,
  type RegistrationClient,
  refused,
  type ServerConfig,
} from "@keelson/protocol/supervisor";

export interface ClientIdentity {
  cert: string;
  key: string;
}

/** A registration with real certificates and no cluster behind it, plus what a test wants to reach into. */
export interface FakeRegistration extends RegistrationClient {
  serverCa: Authority;
  clientCa: Authority;
  requestHeaderCa: Authority;
  /** A client certificate of the client CA. */
  client(commonName: string, organizations?: readonly string[], lifetimeMs?: number): Promise<ClientIdentity>;
  /** Names that the guard lets into the listener certificate beside the fixed ones. */
  serverNames: Set<string>;
  listenerRequests: string[][];
  /** When listener certificates ask to be renewed, counted from their issue. */
  renewAfterMs: number;
  /** Every authenticate call with an Authorization header. */
  authorizations: string[];
  replaceClientCa(): Promise<void>;
}

export const agentPassword = "lab-agent-secret";
export const serverPassword = "lab-server-secret";
export const bootstrapToken = "abcdef.0123456789abcdef";

const passwd: Record<string, { password: string; groups: string[] }> = {
  node: { password: agentPassword, groups: [groups.agent] },
  server: { password: serverPassword, groups: [groups.server] },
};

export async function createFakeRegistration(): Promise<FakeRegistration> {
  const [serverCa, clientCa, requestHeaderCa] = await Promise.all([
    createAuthority("k3s-server"),
    createAuthority("k3s-client"),
    createAuthority("k3s-request-header"),
  ]);
  const fake: FakeRegistration = {
    serverCa,
    clientCa,
    requestHeaderCa,
    serverNames: new Set(),
    listenerRequests: [],
    renewAfterMs: 86_400_000,
    authorizations: [],

    async client(commonName, organizations = [], lifetimeMs = 86_400_000) {
      const key = await generateEcKey();
      const profile = { commonName, organizations, purposes: ["client"] as const };
      const cert = fake.clientCa.issue(profile, createPublicKey(key), Date.now(), lifetimeMs);
      return { cert, key: exportPrivateKey(key) };
    },

    async replaceClientCa() {
      fake.clientCa = await createAuthority("k3s-client");
    },

    async authenticate({ authorization }): Promise<Authentication> {
      if (authorization === undefined) return { outcome: "anonymous" };
      fake.authorizations.push(authorization);
      if (authorization === `Bearer ${bootstrapToken}`) {
        const held = [groups.bootstrappers, groups.authenticated];
        return authenticated("system:bootstrap:abcdef", held, "bootstrap-token");
      }
      const basic = /^basic (.*)$/i.exec(authorization)?.[1];
      if (basic === undefined) return { outcome: "refused" };
      const text = Buffer.from(basic, "base64").toString();
      if (!text.includes(":")) return { outcome: "anonymous" };
      const [user = "", password = ""] = text.split(":");
      const entry = passwd[user];
      if (entry === undefined || entry.password !== password) return { outcome: "refused" };
      return authenticated(user, [...entry.groups, groups.authenticated], "basic");
    },

    async issueCertificate({ kind, node, csrDer }) {
      const kubelet = kind.endsWith("kubelet");
      if (kubelet && node.name === undefined) return refused(400, "node/name-missing", "node name not set");
      if (kubelet && node.password === undefined) return refused(400, "node/password-missing", "node password not set");
      const shared: KeyObject = await generateEcKey();
      const publicKey = csrDer === undefined ? createPublicKey(shared) : readCertificateRequest(csrDer);
      const client = kind.startsWith("client");
      const profile =
        kind === "client-kubelet"
          ? { commonName: `system:node:${node.name}`, organizations: [groups.nodes], purposes: ["client"] as const }
          : { commonName: node.name ?? kind, purposes: [client ? "client" : "server"] as const };
      const pem = (client ? fake.clientCa : serverCa).issue(profile, publicKey, Date.now());
      return accepted(csrDer === undefined ? pem + exportPrivateKey(shared) : pem);
    },

    async signListener({ csrDer, names }) {
      fake.listenerRequests.push([...names]);
      const guard = { enabled: true, serverNames: fake.serverNames };
      const admitted = admitListenerNames(["127.0.0.1", "::1", "localhost", "kubernetes"], names, guard);
      const profile = { commonName: "k3s", organizations: ["k3s"], purposes: ["server"] as const, names: admitted };
      const chainPem = serverCa.issue(profile, readCertificateRequest(csrDer), Date.now());
      return accepted({ chainPem, names: admitted, renewAtMs: Date.now() + fake.renewAfterMs });
    },

    async caBundles() {
      return {
        serverCaPem: serverCa.bundlePem,
        clientCaPem: fake.clientCa.bundlePem,
        requestHeaderCaPem: requestHeaderCa.bundlePem,
      };
    },
    async clusterConfig() {
      return { HTTPSPort: 6443, SupervisorPort: 6443, EncryptSecrets: false } as unknown as ServerConfig;
    },
    async apiServers() {
      return ["192.0.2.1:6443"];
    },
    async readiness() {
      return accepted("ok");
    },
    async serverBootstrap() {
      return accepted('{"ServerCA":"…"}');
    },
    async rotateToken() {
      return accepted(undefined);
    },
    async replaceCas() {
      return accepted(undefined);
    },
    async leafStatus() {
      const times = { notBefore: "2026-01-01T00:00:00.000Z", notAfter: "2027-01-01T00:00:00.000Z" };
      return [{ name: "client-admin", commonName: "system:admin", ...times, renewAt: "2026-09-03T00:00:00.000Z" }];
    },
    async renewLeaf(name) {
      if (name === "client-admin") return accepted(undefined);
      return refused(404, "certificate/unknown", "there is no such certificate");
    },
  };
  return fake;
}

function authenticated(user: string, held: string[], method: "basic" | "bootstrap-token"): Authentication {
  return { outcome: "authenticated", identity: { user, groups: held, method } };
}

async function createAuthority(prefix: string): Promise<Authority> {
  const key = await generateEcKey();
  return new Authority(createCaCertificate(prefix, key, Date.now()), key);
}
