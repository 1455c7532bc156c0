import { createPublicKey } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { Authority, createCaCertificate, exportPrivateKey, generateEcKey, readCertificateRequest } from "@keelson/pki";
import {
  acceptKey,
  allCapabilities,
  capabilityHeader,
  commonCapabilities,
  formatCapabilities,
  parseCapabilities,
  TunnelSession,
} from "@keelson/protocol/tunnel";
import { hashCaBundle } from "@keelson/secret-format";
import { systemClock } from "@keelson/service";

export const agentSecret = "agent-secret";

interface StoredObject {
  metadata: { name: string; uid?: string; resourceVersion?: string };
  [field: string]: unknown;
}

/** A server as an agent sees it: supervisor routes, a Kubernetes API of three kinds, and the tunnel's end. */
export class FakeServer {
  readonly requests: {
    method: string;
    path: string;
    authorization: string | undefined;
    /** PEM of the client certificate. */
    certificate: string | undefined;
  }[] = [];
  readonly sessions: TunnelSession[] = [];
  /** Objects by path. */
  readonly objects = new Map<string, StoredObject>();
  /** Node passwords by name: the first that comes is kept. */
  readonly nodePasswords = new Map<string, string>();
  acceptsToken = true;
  /** Whether a node is known by its certificate, as current servers do it. */
  acceptsCertificates = true;
  port = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Duplex>();
  readonly #serverCa: Authority;
  readonly #clientCa: Authority;

  static async create(): Promise<FakeServer> {
    const [serverKey, clientKey, key] = await Promise.all([generateEcKey(), generateEcKey(), generateEcKey()]);
    const serverCa = new Authority(createCaCertificate("k3s-server", serverKey, Date.now()), serverKey);
    const clientCa = new Authority(createCaCertificate("k3s-client", clientKey, Date.now()), clientKey);
    const profile = { commonName: "k3s", purposes: ["server"] as const, names: ["127.0.0.1", "::1", "localhost"] };
    const cert = serverCa.issue(profile, createPublicKey(key), Date.now());
    return new FakeServer(serverCa, clientCa, { cert, key: exportPrivateKey(key) });
  }

  private constructor(serverCa: Authority, clientCa: Authority, identity: { cert: string; key: string }) {
    this.#serverCa = serverCa;
    this.#clientCa = clientCa;
    this.#server = createServer(
      { ...identity, requestCert: true, rejectUnauthorized: false },
      (req, res) => void this.#serve(req, res),
    );
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("upgrade", (req, socket, head) => this.#upgrade(req, socket as Socket, head));
  }

  get url(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  get token(): string {
    return `K10${hashCaBundle(this.#serverCa.bundlePem)}::node:${agentSecret}`;
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.port, "127.0.0.1", resolve));
    this.port = (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.sessions) session.close("server stops");
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #upgrade(req: IncomingMessage, socket: Socket, head: Buffer): void {
    const { capabilities } = parseCapabilities(req.headers[capabilityHeader]);
    const agreed = commonCapabilities(allCapabilities, capabilities);
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptKey(
        req.headers["sec-websocket-key"] ?? "",
      )}\r\nX-Tunnel-Caps: ${formatCapabilities({ capabilities: agreed })}\r\n\r\n`,
    );
    this.sessions.push(
      new TunnelSession({
        role: "server",
        transport: socket,
        head,
        capabilities: agreed,
        sessionName: "node/1",
        clock: systemClock,
      }),
    );
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const url = new URL(req.url ?? "/", "https://server");
    const { pathname: path } = url;
    const certificate = (req.socket as TLSSocket).getPeerX509Certificate()?.toString();
    this.requests.push({ method: req.method ?? "", path, authorization: req.headers.authorization, certificate });
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const text = (status: number, answer: string): void => void res.writeHead(status).end(answer);
    if (path === "/cacerts") return text(200, this.#serverCa.bundlePem);
    if (path === "/ping") return text(200, "pong");
    if (!path.startsWith("/v1-k3s/")) return this.#kubernetes(req.method ?? "", url, body, res);
    const expected = `Basic ${Buffer.from(`node:${agentSecret}`).toString("base64")}`;
    const isKnown = this.acceptsCertificates && certificate !== undefined;
    if (!isKnown && (!this.acceptsToken || req.headers.authorization !== expected)) return text(401, "");
    if (path === "/v1-k3s/config")
      return text(200, JSON.stringify({ EgressSelectorMode: "agent", ClusterIPRanges: [] }));
    if (path === "/v1-k3s/server-ca.crt") return text(200, this.#serverCa.bundlePem);
    if (path === "/v1-k3s/client-ca.crt") return text(200, this.#clientCa.bundlePem);
    if (path === "/v1-k3s/apiservers") return text(200, JSON.stringify([`127.0.0.1:${this.port}`]));
    const leaf = /^\/v1-k3s\/(serving|client)-([a-z0-9-]+)\.crt$/.exec(path);
    if (leaf === null) return text(404, "");
    const name = String(req.headers["k3s-node-name"] ?? leaf[2]);
    if (leaf[2] === "kubelet") {
      const password = String(req.headers["k3s-node-password"]);
      if ((this.nodePasswords.get(name) ?? password) !== password) return text(403, "hash does not match");
      this.nodePasswords.set(name, password);
    }
    const profile = {
      commonName: leaf[2] === "kubelet" ? `system:node:${name}` : name,
      organizations: ["system:nodes"],
    };
    const authority = leaf[1] === "client" ? this.#clientCa : this.#serverCa;
    const purposes = [leaf[1] === "client" ? "client" : "server"] as const;
    text(200, authority.issue({ ...profile, purposes }, readCertificateRequest(body), Date.now()));
  }

  #kubernetes(method: string, url: URL, body: Buffer, res: ServerResponse): void {
    const json = (status: number, object: unknown): void => {
      res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(object));
    };
    const missing = (): void => json(404, { kind: "Status", reason: "NotFound", message: "not found" });
    if (url.searchParams.has("watch"))
      return void res.writeHead(200, { "content-type": "application/json" }).flushHeaders();
    const path = url.pathname.replace(/\/status$/, "");
    if (path.endsWith("/endpoints")) {
      const subsets = [{ addresses: [{ ip: "127.0.0.1" }], ports: [{ port: this.port }] }];
      const items = [{ metadata: { name: "kubernetes", namespace: "default", resourceVersion: "1" }, subsets }];
      return void json(200, { kind: "EndpointsList", metadata: { resourceVersion: "1" }, items });
    }
    const stored = this.objects.get(path);
    if (method === "POST") {
      const object = JSON.parse(body.toString()) as StoredObject;
      const key = `${path}/${object.metadata.name}`;
      if (this.objects.has(key)) return void json(409, { kind: "Status", reason: "AlreadyExists", message: "exists" });
      object.metadata.uid = "uid-1";
      this.objects.set(key, object);
      return void json(201, object);
    }
    if (stored === undefined) return void missing();
    if (method === "PUT") this.objects.set(path, JSON.parse(body.toString()) as StoredObject);
    if (method === "PATCH") this.objects.set(path, merged(stored, JSON.parse(body.toString())) as StoredObject);
    json(200, this.objects.get(path));
  }
}

/** RFC 7396. */
function merged(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch;
  const result: Record<string, unknown> = isRecord(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else result[name] = merged(result[name], value);
  }
  return result;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
