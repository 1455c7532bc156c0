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

  /** Waits for the token and joins, with back-off, until it has worked. Rejects only with the signal's reason. */
  async join(signal: AbortSignal): Promise<Joined> {
    this.#token = await this.#waitForToken(signal);
    const backoff = new Backoff({ initialMs: 500, maxMs: 10_000 });
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted();
      try {
        const joined = await this.fetch();
        this.#progress = { state: "joined", sinceMs: this.#deps.clock.monotonic() };
        return joined;
      } catch (error) {
        this.#failed(attempt, this.#explain(error));
        await sleep(backoff.next(), signal);
      }
    }
  }

  /** Everything a server hands out, once: configuration, CAs and fresh certificates. */
  async fetch(): Promise<Joined> {
    const { balancer, config, nodeName, password, nodeIps, layout } = this.#input;
    const ips = [...nodeIps, ...(config.nodeExternalIps ?? [])];
    const address = { host: "127.0.0.1", port: balancer.port };
    try {
      const node = { name: nodeName, password, ips };
      const joined = await join({ address, token: this.#requireToken(), node, layout });
      this.#fit = "accepted";
      this.#clockSkew = joined.clockSkew ?? this.#clockSkew;
      return joined;
    } catch (error) {
      if (errorCode(error) === "join/token-rejected") this.#fit = "rejected";
      if (errorCode(error) === "join/ca-pin") this.#fit = "other-cluster";
      throw error;
    }
  }

  /** A client of the supervisor with the token, once joined. The caller closes it. */
  supervisor({ serverCaPem: ca }: Joined): SupervisorClient {
    const port = this.#input.balancer.port;
    return new SupervisorClient({ host: "127.0.0.1", port, ca, authorization: authorizationOf(this.#requireToken()) });
  }

  /** Asks a server what it thinks of our token and clock now; leaves both as they are when none answers. Never rejects. */
  async check(joined: Joined): Promise<void> {
    const client = this.supervisor(joined);
    try {
      const { status } = await client.send({ path: "/v1-k3s/config" });
      if (status === 200) this.#fit = "accepted";
      if (status === 401 || status === 403) this.#fit = "rejected";
      this.#clockSkew = client.clockSkew ?? this.#clockSkew;
    } catch (error) {
      this.#deps.log.debug({ error: errorMessage(error) }, "no server could be asked about our token");
    } finally {
      client.close();
    }
  }

  #requireToken(): Token {
    if (this.#token === undefined) throw new KeelsonError("join/no-token", "the token is not known yet");
    return this.#token;
  }

  async #waitForToken(signal: AbortSignal): Promise<Token> {
    const { token, tokenFile } = this.#input.config;
    if (token !== undefined) return parseToken(token);
    for (let said = false; ; said = true) {
      const text = (await readFileIfExists(tokenFile ?? ""))?.trim();
      if (text !== undefined && text !== "") return parseToken(text);
      const hint = "copy server/token from a server to it";
      if (!said)
        this.#failed(0, new KeelsonError("join/no-token", `the token file ${tokenFile} is not there`, { hint }));
      await sleep(tokenFilePollMs, signal);
    }
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
