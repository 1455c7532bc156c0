import { clockSkew, compareCriticalConfig, type ServerConfig } from "@keelson/protocol/supervisor";
import { type BootstrapData, parseBootstrapData } from "@keelson/secret-format";
import { type Clock, errorMessage, KeelsonError, type Logger } from "@keelson/service";
import { PinnedServer } from "../api/pinned-server.ts";

export interface ServerJoinOptions {
  /** Any running server, or the fixed registration address: `https://host:port`. */
  url: string;
  token: string;
}

/** A skew above this makes certificates and leases unreliable. */
const skewWarningMs = 5_000;

/**
 * Asks a running server about the cluster that this one joins: its configuration must agree in everything that servers must
 * have in common, and its bootstrap data (asked for with the server token) become this server's identity.
 */
export class ServerJoin {
  readonly #options: ServerJoinOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #server: PinnedServer;

  constructor(options: ServerJoinOptions, clock: Clock, log: Logger) {
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
    this.#server = new PinnedServer(options.url, options.token, log);
  }

  /**
   * Throws `server/config-mismatch` naming each critical field that differs. It asks with the agents' token: older servers show
   * their configuration to nobody else. A server that does not answer is no reason to stop: the comparison is left out, as
   * stock K3s does.
   */
  async compareConfig(ours: ServerConfig, agentToken: string): Promise<void> {
    let theirs: unknown;
    try {
      const sentAtMs = this.#clock.now();
      const answer = await this.#server.call("node", { path: "/v1-k3s/config", token: agentToken });
      this.#reportSkew(answer.date, sentAtMs);
      if (answer.status !== 200) throw new Error(`status ${answer.status}`);
      theirs = JSON.parse(answer.body.toString("utf8"));
    } catch (error) {
      if (error instanceof KeelsonError && error.code.startsWith("token/")) throw error;
      this.#log.warn({ reason: errorMessage(error) }, "cannot compare the configuration with the other servers");
      return;
    }
    const differences = compareCriticalConfig(ours, theirs as Record<string, unknown>);
    if (differences.length === 0) return;
    const list = differences.map(
      ({ field, ours: here, theirs: there }) => `${field} is ${here} here and ${there} there`,
    );
    throw new KeelsonError(
      "server/config-mismatch",
      `critical configuration value mismatch between servers: ${list.join("; ")}`,
      { hint: `start this server with the values of ${this.#options.url}` },
    );
  }

  /** The bootstrap data of the cluster; undefined when that server hands out none (it is not on embedded etcd). */
  async fetchBootstrap(): Promise<BootstrapData | undefined> {
    const answer = await this.#server.call("server", { path: "/v1-k3s/server-bootstrap" });
    if (answer.status === 200) return parseBootstrapData(answer.body.toString("utf8"));
    if (answer.status === 401 || answer.status === 403) {
      throw new KeelsonError("token/rejected", `${this.#options.url} does not accept this server token`, {
        hint: "use the token in the file server/token of a running server (an agent token does not join servers)",
        status: answer.status,
      });
    }
    if (answer.status === 400 || answer.status === 404) return undefined;
    if (answer.status === 429 || answer.status === 503) {
      throw new KeelsonError("server/unreachable", `${this.#options.url} is not ready yet`, { status: 503 });
    }
    throw new KeelsonError(
      "server/bootstrap",
      `${this.#options.url} answered ${answer.status} to the bootstrap request`,
    );
  }

  #reportSkew(date: string | undefined, sentAtMs: number): void {
    const skew = clockSkew(date, sentAtMs, this.#clock.now());
    if (skew === undefined || Math.abs(skew.skewMs) < skewWarningMs) return;
    this.#log.warn(
      { skewMs: skew.skewMs, server: this.#options.url },
      `the clock of this host is ${Math.abs(skew.skewMs / 1_000).toFixed(1)} s ${skew.skewMs > 0 ? "ahead of" : "behind"} the server's; synchronise them`,
    );
  }
}
