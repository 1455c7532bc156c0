import { createPublicKey, type KeyObject } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EtcdServer, startEtcd } from "@keelson/conformance";
import { createKubeClient, type KubeClient } from "@keelson/kube-client";
import { Authority, createCaCertificate, exportPrivateKey, generateEcKey, generateRsaKey } from "@keelson/pki";
import { createKubeApi, type KubeApi, type KubeApiConfig } from "../../src/index.ts";

/** Who asks: sent as the front proxy sends it. */
export interface Identity {
  user: string;
  groups?: readonly string[];
}

export const admin: Identity = { user: "system:admin", groups: ["system:masters"] };
export const nodeIdentity = (node: string): Identity => ({ user: `system:node:${node}`, groups: ["system:nodes"] });

export interface Answer {
  status: number;
  headers: IncomingMessage["headers"];
  bytes: Buffer;
  /** The body as JSON; throws when it is none. */
  // biome-ignore lint/suspicious/noExplicitAny: a body of the API under test has whatever shape the test expects
  json: any;
}

/** An API server on a datastore of its own, on a Unix socket and on TLS. */
export interface RunningApi {
  api: KubeApi;
  etcd: Datastore;
  socketPath: string;
  directory: string;
  /** https URL. */
  url: string;
  client: KubeClient;
  serverCa: Authority;
  clientCa: Authority;
  kubeconfig(identity: Identity): Promise<string>;
  call(
    method: string,
    path: string,
    options?: { as?: Identity; headers?: Record<string, string>; body?: unknown },
  ): Promise<Answer>;
  /** Opens a stream (a watch) whose head has come. */
  open(path: string, options?: { as?: Identity; headers?: Record<string, string> }): Promise<IncomingMessage>;
  close(): Promise<void>;
}

/** A datastore that the API under test runs on. */
type Datastore = Pick<EtcdServer, "url" | "process" | "close">;

export async function startApi(extra: Partial<KubeApiConfig> = {}, datastore?: Datastore): Promise<RunningApi> {
  const etcd = datastore ?? (await startEtcd());
  const directory = await mkdtemp(join(tmpdir(), "keelson-kube-api-"));
  const socketPath = join(directory, "api.sock");
  const serverCa = await newAuthority("server");
  const clientCa = await newAuthority("client");
  const proxyCa = await newAuthority("proxy");
  const serving = await issue(serverCa, { commonName: "kube-apiserver", purpose: "server" });
  const api = createKubeApi({
    etcd: { endpoints: [etcd.url] },
    listen: [{ socketPath }, { host: "127.0.0.1", port: 0, tls: { ...serving, ca: clientCa.bundlePem } }],
    clientCaPem: clientCa.bundlePem,
    requestHeaderCaPem: proxyCa.bundlePem,
    advertise: { address: "192.0.2.1", port: 6443 },
    serviceCidr: "10.43.0.0/16",
    serviceAccount: {
      privateKeyPem: exportPrivateKey(await generateRsaKey()),
      issuer: "https://kubernetes.default.svc",
    },
    ...extra,
  });
  await api.start();
  const url = `https://127.0.0.1:${(api.addresses[1] as AddressInfo).port}`;
  const client = createKubeClient({ socketPath });

  const send = (
    method: string,
    path: string,
    { as = admin, headers = {}, body }: { as?: Identity; headers?: Record<string, string>; body?: unknown },
  ): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const bytes =
        body === undefined || Buffer.isBuffer(body) ? (body as Buffer | undefined) : Buffer.from(JSON.stringify(body));
      const identity = { "x-remote-user": as.user, ...(as.groups && { "x-remote-group": as.groups.join() }) };
      const type = bytes === undefined ? {} : { "content-type": "application/json", "content-length": bytes.length };
      const outgoing = httpRequest(
        { socketPath, method, path, headers: { ...identity, ...type, ...headers } },
        resolve,
      );
      outgoing.on("error", reject);
      outgoing.end(bytes);
    });

  return {
    api,
    etcd,
    socketPath,
    directory,
    url,
    client,
    serverCa,
    clientCa,
    async kubeconfig({ user, groups = [] }) {
      const { cert, key } = await issue(clientCa, { commonName: user, organizations: groups, purpose: "client" });
      const path = join(directory, `${user.replaceAll(":", "-")}.kubeconfig`);
      const data = (pem: string): string => Buffer.from(pem).toString("base64");
      const cluster = { server: url, "certificate-authority-data": data(serverCa.bundlePem) };
      const credentials = { "client-certificate-data": data(cert), "client-key-data": data(key) };
      const config = {
        apiVersion: "v1",
        kind: "Config",
        clusters: [{ name: "test", cluster }],
        users: [{ name: "test", user: credentials }],
        contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
        "current-context": "test",
      };
      await writeFile(path, JSON.stringify(config));
      return path;
    },
    async call(method, path, options = {}) {
      const response = await send(method, path, options);
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      const bytes = Buffer.concat(chunks);
      return {
        status: response.statusCode ?? 0,
        headers: response.headers,
        bytes,
        get json() {
          return JSON.parse(bytes.toString("utf8"));
        },
      };
    },
    open: (path, options = {}) => send("GET", path, options),
    async close() {
      client.close();
      await api.stop();
      await etcd.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export async function newAuthority(name: string): Promise<Authority> {
  const key: KeyObject = await generateEcKey();
  return new Authority(createCaCertificate(`test-${name}`, key, Date.now()), key);
}

export async function issue(
  authority: Authority,
  profile: { commonName: string; organizations?: readonly string[]; purpose: "client" | "server"; names?: string[] },
): Promise<{ cert: string; key: string }> {
  const { commonName, organizations = [], purpose } = profile;
  const key = await generateEcKey();
  const names = purpose === "server" ? ["127.0.0.1", "localhost", ...(profile.names ?? [])] : [];
  const leaf = { commonName, organizations, purposes: [purpose], names };
  return { cert: authority.issue(leaf, createPublicKey(key), Date.now()), key: exportPrivateKey(key) };
}

/** Events of a watch as they come, one JSON object a line. */
export class WatchReader {
  readonly #stream: IncomingMessage;
  readonly #lines: AsyncIterator<string>;

  constructor(stream: IncomingMessage) {
    this.#stream = stream;
    this.#lines = lines(stream);
  }

  // biome-ignore lint/suspicious/noExplicitAny: as for Answer.json
  async next(): Promise<any> {
    const { value, done } = await this.#lines.next();
    if (done) return undefined;
    return JSON.parse(value);
  }

  close(): void {
    this.#stream.destroy();
  }
}

async function* lines(stream: IncomingMessage): AsyncGenerator<string, void, void> {
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + (chunk as Buffer).toString("utf8")).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
}
