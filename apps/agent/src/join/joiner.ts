import type { LoadBalancer } from "@keelson/load-balancer";
import { parseToken, type Token } from "@keelson/secret-format";
import {
  Backoff,
  type Clock,
  errorCode,
  errorMessage,
  KeelsonError,
  type Logger,
  readFileIfExists,
  sleep,
} from "@keelson/service";
import type { AgentConfig } from "../config.ts";
import type { AgentLayout } from "../layout.ts";
import { authorizationOf, type Joined, join } from "./join.ts";
import { SupervisorClient } from "./supervisor-client.ts";

/** How far the agent is on its way into the cluster; times are of the monotonic clock. */
export type JoinProgress =
  | {
      state: "joining";
      sinceMs: number;
      attempts: number;
      error: { message: string; hint: string | undefined } | undefined;
    }
  | { state: "joined"; sinceMs: number };

/** What the servers think of our token; `other-cluster` when its pin does not fit the servers' CA. */
export type TokenFit = "unknown" | "accepted" | "rejected" | "other-cluster";

const tokenFilePollMs = 2_000;

export interface JoinerInput {
  config: AgentConfig;
  nodeName: string;
  password: string;
  nodeIps: readonly string[];
  layout: AgentLayout;
  balancer: LoadBalancer;
}

/** Throws `join/no-token` while there is none that could be read. */
async function readTokenFile(path: string): Promise<Token> {
  const unusable = (what: string, hint: string, cause?: unknown): KeelsonError =>
    new KeelsonError("join/no-token", `the token file ${path} ${what}`, { hint, cause });
  const hint = "copy server/token from a server to it";
  let text: string | undefined;
  try {
    text = (await readFileIfExists(path))?.trim();
  } catch (cause) {
    throw unusable(`cannot be read: ${errorMessage(cause)}`, hint, cause);
  }
  if (text === undefined || text === "") throw unusable(text === undefined ? "is not there" : "is empty", hint);
  try {
    return parseToken(text);
  } catch (cause) {
    throw unusable(`holds no token: ${errorMessage(cause)}`, hint, cause);
  }
}

/** Brings the node into the cluster, however long it takes, and keeps what is known about token and clock. */
export class Joiner {
  readonly #input: JoinerInput;
  readonly #deps: { clock: Clock; log: Logger };
  #token: Token | undefined;
  #progress: JoinProgress;
  #fit: TokenFit = "unknown";
  #clockSkew: Joined["clockSkew"];

  constructor(input: JoinerInput, deps: { clock: Clock; log: Logger }) {
    this.#input = input;
    this.#deps = deps;
    this.#progress = { state: "joining", sinceMs: deps.clock.monotonic(), attempts: 0, error: undefined };
  }

  get progress(): JoinProgress {
    return this.#progress;
  }

  get tokenFit(): TokenFit {
    return this.#fit;
  }

  /** Our clock minus the servers', as of the last answer. */
  get clockSkew(): Joined["clockSkew"] {
    return this.#clockSkew;
  }

  /** Joins, with back-off, until it has worked. Rejects only with the signal's reason. */
  async join(signal: AbortSignal): Promise<Joined> {
    const backoff = new Backoff({ initialMs: 500, maxMs: 10_000 });
    for (let attempts = 0; ; ) {
      signal.throwIfAborted();
      try {
        const joined = await this.fetch();
        this.#progress = { state: "joined", sinceMs: this.#deps.clock.monotonic() };
        if (!this.#token?.caHash) {
          this.#deps.log.warn(
            { hint: "use the full token (K10…) of server/token on a server" },
            "the token does not name the cluster's CA: the one that the server showed was taken on trust",
          );
        }
        return joined;
      } catch (error) {
        const waitsForToken = errorCode(error) === "join/no-token";
        this.#failed(waitsForToken ? attempts : ++attempts, this.#explain(error));
        await sleep(waitsForToken ? tokenFilePollMs : backoff.next(), signal);
      }
    }
  }

  /** Everything a server hands out, once: configuration, CAs and fresh certificates. */
  async fetch(): Promise<Joined> {
    const { balancer, config, nodeName, password, nodeIps, layout } = this.#input;
    const ips = [...nodeIps, ...(config.nodeExternalIps ?? [])];
    const address = { host: "127.0.0.1", port: balancer.port };
    const token = await this.#readToken();
    try {
      const node = { name: nodeName, password, ips };
      const joined = await join({ address, token, node, layout });
      this.#fit = "accepted";
      this.#clockSkew = joined.clockSkew ?? this.#clockSkew;
      return joined;
    } catch (error) {
      if (errorCode(error) === "join/token-rejected") this.#fit = "rejected";
      if (errorCode(error) === "join/ca-pin") this.#fit = "other-cluster";
      throw error;
    }
  }

  /** A client of the supervisor as this node, once joined. The caller closes it. */
  supervisor({ serverCaPem: ca, leaves }: Joined, withCertificate = true): SupervisorClient {
    const { certPem: cert, keyPem: key } = leaves["client-kubelet"];
    return new SupervisorClient({
      host: "127.0.0.1",
      port: this.#input.balancer.port,
      ca,
      ...(this.#token === undefined ? {} : { authorization: authorizationOf(this.#token) }),
      ...(withCertificate ? { clientCertificate: { cert, key } } : {}),
    });
  }

  /**
   * Asks a server what it thinks of our certificate, of our token and of our clock now; leaves all as they are when none
   * answers. Never rejects.
   */
  async check(joined: Joined): Promise<void> {
    try {
      await this.#readToken();
      // Servers of 2021 take nothing but the token.
      const isAccepted = (await this.#isAccepted(joined, true)) || (await this.#isAccepted(joined, false));
      this.#fit = isAccepted ? "accepted" : "rejected";
    } catch (error) {
      this.#deps.log.debug({ error: errorMessage(error) }, "no server could be asked about our token");
    }
  }

  async #isAccepted(joined: Joined, withCertificate: boolean): Promise<boolean> {
    const client = this.supervisor(joined, withCertificate);
    try {
      const { status } = await client.send({ path: "/v1-k3s/config" });
      this.#clockSkew = client.clockSkew ?? this.#clockSkew;
      if (status === 200) return true;
      if (status === 401 || status === 403) return false;
      throw new KeelsonError("join/refused", `a server answered ${status} to /v1-k3s/config`);
    } finally {
      client.close();
    }
  }

  /** The token as it is now: a file may have got another since. One that cannot be read leaves the last in force. */
  async #readToken(): Promise<Token> {
    const { token, tokenFile } = this.#input.config;
    try {
      if (token !== undefined) this.#token = parseToken(typeof token === "string" ? token : token());
      else this.#token = await readTokenFile(tokenFile ?? "");
    } catch (error) {
      if (this.#token === undefined) throw error;
      this.#deps.log.debug({ error: errorMessage(error) }, "the token cannot be read again");
    }
    return this.#token;
  }

  /** A lost connection to the balancer says nothing; what the balancer met at the servers does. */
  #explain(error: unknown): unknown {
    if (errorCode(error) !== "supervisor/unreachable") return error;
    const failed = this.#input.balancer.servers().map(({ address, reason }) => `${address} (${reason})`);
    return new KeelsonError("join/no-server", `no server answers: ${failed.join(", ")}`, {
      hint: "start a server, or check --server and the way to its port",
      cause: error,
    });
  }

  #failed(attempts: number, error: unknown): void {
    const message = error instanceof KeelsonError ? error.message : errorMessage(error);
    const hint = error instanceof KeelsonError ? error.hint : undefined;
    const before = this.#progress.state === "joining" ? this.#progress.error?.message : undefined;
    this.#progress = { state: "joining", sinceMs: this.#progress.sinceMs, attempts, error: { message, hint } };
    if (message === before) return;
    this.#deps.log.warn({ ...(hint === undefined ? {} : { hint }) }, `cannot join yet: ${message}`);
  }
}
