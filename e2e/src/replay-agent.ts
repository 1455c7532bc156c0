import { randomBytes } from "node:crypto";
import {
  createCertificateRequest,
  exportPrivateKey,
  generateEcKey,
  importPrivateKey,
  splitCertificateAndKey,
} from "@keelson/pki";
import { hashCaBundle, parseToken, type Token } from "@keelson/secret-format";
import { KeelsonError } from "@keelson/service";
import { WebSocket } from "ws";
import { type ClientCertificate, type ReplayAnswer, type ReplayRequest, replayRequest } from "./replay-client.ts";

/** v1.21 as recorded in conformance/vectors; newest as newest K3s: certificate requests, /apiservers, /readyz. */
export type AgentEra = "v1.21" | "newest";

export interface ReplayAgentOptions {
  era: AgentEra;
  /** `https://host:port` */
  server: string;
  token: string;
  nodeName: string;
  nodeIps: readonly string[];
  /** Kept from an earlier join, with the files; a new agent draws one. */
  nodePassword?: string;
  files?: AgentFiles;
  /** Delay before the whole loop starts again after any failure (newest: 5 to 10 s at random, v1.21: 5 s). */
  retryMs?: () => number;
  /** Opens the tunnel at the end, as an agent that starts its kubelet does. */
  openTunnel?: boolean;
  signal?: AbortSignal;
  /** Sees each answer, in order. */
  onAnswer?: (path: string, answer: ReplayAnswer) => void;
  /** Sees each failure that makes the agent start again. */
  onRetry?: (error: unknown) => void;
}

/** What an agent keeps below `<data dir>/agent`, by file name. */
export type AgentFiles = Record<string, string>;

export interface JoinedAgent {
  nodeName: string;
  nodePassword: string;
  files: AgentFiles;
  apiServers: readonly string[];
  /** Times the loop started again. */
  retries: number;
  tunnel: WebSocket | undefined;
}

/** The certificates in the order in which agents fetch them; the two of the kubelet need the node password. */
const certificates = [
  { name: "serving-kubelet", password: true },
  { name: "client-kubelet", password: true },
  { name: "client-kube-proxy", password: false },
  { name: "client-k3s-controller", password: false },
] as const;

/** Joins as a stock agent of the given era: the same requests in the same order, started again after any failure. */
export async function joinReplayAgent(options: ReplayAgentOptions): Promise<JoinedAgent> {
  const agent = new ReplayAgent(options);
  let retries = 0;
  for (;;) {
    try {
      return { ...(await agent.join()), retries };
    } catch (error) {
      if (options.signal?.aborted) throw error;
      options.onRetry?.(error);
      retries++;
      const newest = options.era === "newest";
      const delayMs = options.retryMs?.() ?? (newest ? 5_000 + Math.random() * 5_000 : 5_000);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
  }
}

class ReplayAgent {
  readonly #options: ReplayAgentOptions;
  readonly #token: Token;
  readonly #nodePassword: string;
  readonly #files: AgentFiles;
  readonly #client: ClientCertificate | undefined;
  #ca = "";

  constructor(options: ReplayAgentOptions) {
    this.#options = options;
    this.#token = parseToken(options.token);
    this.#nodePassword = options.nodePassword ?? randomBytes(16).toString("hex");
    this.#files = { ...options.files };
    this.#client = clientCertificate(options);
  }

  /** One run of the loop. Throws at the first answer that is not a success. */
  async join(): Promise<Omit<JoinedAgent, "retries">> {
    const { era, nodeName, openTunnel } = this.#options;
    await this.#validateToken();
    await this.#validateToken();
    const config = JSON.parse((await this.#get("/v1-k3s/config")).body) as {
      HTTPSPort: number;
      SupervisorPort: number;
    };
    if (config.HTTPSPort !== config.SupervisorPort) throw new KeelsonError("replay/ports", "split ports");
    this.#files["client-ca.crt"] = (await this.#get("/v1-k3s/client-ca.crt")).body;
    this.#files["server-ca.crt"] = (await this.#get("/v1-k3s/server-ca.crt")).body;
    for (const { name, password } of certificates) await this.#certificate(name, password);
    const apiServers = era === "newest" ? await this.#apiServers() : [];
    if (era === "newest") await this.#get("/v1-k3s/readyz");
    const tunnel = openTunnel ? await this.#openTunnel() : undefined;
    return { nodeName, nodePassword: this.#nodePassword, files: this.#files, apiServers, tunnel };
  }

  /** The three /cacerts requests: host trust (the handshake is expected to fail), none, then the downloaded bundle. */
  async #validateToken(): Promise<void> {
    const path = "/cacerts";
    try {
      await this.#send({ path, trust: "system" });
      return; // trusted by the host: nothing is pinned, as in stock
    } catch (error) {
      if (error instanceof KeelsonError) throw error;
    }
    const { body } = await this.#send({ path, trust: "any" });
    await this.#send({ path, trust: { ca: body } });
    const hash = hashCaBundle(body);
    const wanted = this.#token.caHash;
    if (wanted !== undefined && wanted !== "" && wanted.toLowerCase() !== hash) {
      throw new KeelsonError("replay/ca-hash", "token CA hash does not match the Cluster CA certificate hash");
    }
    this.#ca = body;
  }

  async #certificate(name: string, password: boolean): Promise<void> {
    const { era, nodeName, nodeIps } = this.#options;
    const headers: [string, string][] = password
      ? [
          ["K3s-Node-Ip", nodeIps.join(",")],
          ["K3s-Node-Name", nodeName],
          ["K3s-Node-Password", this.#nodePassword],
        ]
      : [];
    const path = `/v1-k3s/${name}.crt`;
    const keyFile = `${name}.key`;
    if (era === "v1.21") {
      const { certificatesPem, keyPem } = splitCertificateAndKey((await this.#get(path, { headers })).body);
      if (keyPem === undefined) throw new KeelsonError("replay/no-key", `${path} came without a key`);
      this.#files[`${name}.crt`] = certificatesPem;
      this.#files[keyFile] = keyPem;
      return;
    }
    const known = this.#files[keyFile];
    const key = known === undefined ? await generateEcKey() : importPrivateKey(known);
    if (known === undefined) this.#files[keyFile] = exportPrivateKey(key);
    const answer = await this.#get(path, { method: "POST", headers, body: createCertificateRequest(key) });
    const { certificatesPem, keyPem } = splitCertificateAndKey(answer.body);
    this.#files[`${name}.crt`] = certificatesPem;
    if (keyPem !== undefined) this.#files[keyFile] = keyPem;
  }

  async #apiServers(): Promise<readonly string[]> {
    const list = JSON.parse((await this.#get("/v1-k3s/apiservers")).body) as string[];
    if (list.length === 0) throw new KeelsonError("replay/no-api-servers", "/v1-k3s/apiservers is empty");
    return list;
  }

  #openTunnel(): Promise<WebSocket> {
    const url = `${this.#options.server.replace(/^https/, "wss").replace(/\/+$/, "")}/v1-k3s/connect`;
    const socket = new WebSocket(url, {
      ca: this.#ca,
      cert: this.#files["client-kubelet.crt"],
      key: this.#files["client-kubelet.key"],
      headers: { "User-Agent": "Go-http-client/1.1" },
    });
    return new Promise((resolve, reject) => {
      socket.once("open", () => resolve(socket));
      socket.once("error", reject);
    });
  }

  #get(path: string, extra: Omit<Partial<ReplayRequest>, "path" | "trust"> = {}): Promise<ReplayAnswer> {
    const { bootstrap, password } = this.#token;
    const credential =
      bootstrap === undefined
        ? `Basic ${Buffer.from(`node:${password}`).toString("base64")}`
        : `Bearer ${bootstrap.id}.${bootstrap.secret}`;
    const headers: (readonly [string, string])[] = [["Authorization", credential], ...(extra.headers ?? [])];
    return this.#send({ ...extra, path, headers, trust: { ca: this.#ca }, client: this.#client });
  }

  async #send(request: ReplayRequest): Promise<ReplayAnswer> {
    this.#options.signal?.throwIfAborted();
    const answer = await replayRequest(this.#options.server, request);
    this.#options.onAnswer?.(request.path, answer);
    if (answer.status < 200 || answer.status > 299) {
      throw new KeelsonError("replay/refused", `${request.path}: ${answer.status} ${answer.body.slice(0, 200)}`, {
        status: answer.status,
      });
    }
    return answer;
  }
}

/** Newest agents present the kubelet certificate they already have. */
function clientCertificate({ era, files }: ReplayAgentOptions): ClientCertificate | undefined {
  const cert = files?.["client-kubelet.crt"];
  const key = files?.["client-kubelet.key"];
  return era === "newest" && cert !== undefined && key !== undefined ? { cert, key } : undefined;
}

/** The keys of a new agent, made ahead of its first join, as a host of its own would in no time. */
export async function drawAgentKeys(): Promise<AgentFiles> {
  const keys = await Promise.all(
    certificates.map(async ({ name }) => [`${name}.key`, exportPrivateKey(await generateEcKey())] as const),
  );
  return Object.fromEntries(keys);
}
