import type { Duplex } from "node:stream";
import { anyCapability, DialError, type TunnelSession } from "@keelson/protocol/tunnel";
import { type Clock, errorMessage } from "@keelson/service";
import { EgressError } from "./egress/egress-error.ts";
import { type AddressTable, parseAuthority, stockAgentAllows } from "./egress/route.ts";
import type { HubMetrics } from "./hub-metrics.ts";
import { handOver, type ReplicaTls } from "./replicas/hand-over.ts";
import type { SharedDirectory } from "./replicas/shared-directory.ts";
import type { SessionDirectory } from "./session-directory.ts";

export interface DialOptions {
  /** Milliseconds until the dial is given up (10000). */
  timeoutMs?: number;
  /** Another replica asks: only sessions of our own count. */
  local?: boolean;
}

export const defaultDialTimeoutMs = 10_000;

/** Opens streams to nodes: through a session of our own, else through the replica that holds one. */
export class NodeDialer {
  readonly #directory: SessionDirectory;
  readonly #table: () => AddressTable;
  readonly #replicas: { shared: SharedDirectory; tls: () => ReplicaTls } | undefined;
  readonly #timeoutMs: number;
  readonly #metrics: HubMetrics;
  readonly #clock: Clock;

  constructor(parts: {
    directory: SessionDirectory;
    table: () => AddressTable;
    replicas: { shared: SharedDirectory; tls: () => ReplicaTls } | undefined;
    timeoutMs: number;
    metrics: HubMetrics;
    clock: Clock;
  }) {
    this.#directory = parts.directory;
    this.#table = parts.table;
    this.#replicas = parts.replicas;
    this.#timeoutMs = parts.timeoutMs;
    this.#metrics = parts.metrics;
    this.#clock = parts.clock;
  }

  /** Whether this replica, or another, has a session of the node. */
  async reaches(nodeName: string): Promise<boolean> {
    if (this.#directory.has(nodeName)) return true;
    return ((await this.#replicas?.shared.lookup(nodeName)) ?? []).length > 0;
  }

  /** Opens a stream, target `tcp/host:port`. Rejects with an EgressError that says why. */
  async dial(nodeName: string, target: string, options: DialOptions = {}): Promise<Duplex> {
    const startedMs = this.#clock.monotonic();
    try {
      const stream = await this.#dial(nodeName, target, options);
      this.#metrics.dialled("ok", this.#clock.monotonic() - startedMs);
      return stream;
    } catch (error) {
      const cause = error instanceof EgressError ? error.cause : undefined;
      const result = cause instanceof DialError ? cause.failure : "no-session";
      this.#metrics.dialled(result, this.#clock.monotonic() - startedMs);
      throw error;
    }
  }

  /** Tries the node's sessions, best first; only the loss of a session leads to the next, the target's answer is final. */
  async #dial(nodeName: string, target: string, options: DialOptions): Promise<Duplex> {
    const slash = target.indexOf("/");
    const [protocol, address] = [target.slice(0, slash), target.slice(slash + 1)];
    let lost: DialError | undefined;
    for (const { session } of this.#directory.candidates(nodeName)) {
      if (session.closed) continue;
      this.#spareStockAgent(session, nodeName, address);
      try {
        return await this.#dialOn(session, protocol, address, options.timeoutMs ?? this.#timeoutMs);
      } catch (error) {
        if (!(error instanceof DialError)) throw error;
        if (!session.closed) throw dialFailed(nodeName, error);
        lost = error;
      }
    }
    const elsewhere = options.local ? undefined : await this.#dialElsewhere(nodeName, address, options.timeoutMs);
    if (elsewhere !== undefined) return elsewhere;
    if (lost !== undefined) throw dialFailed(nodeName, lost);
    const here = `failed to find Session for client ${nodeName}: its agent has no tunnel to this server`;
    const blind = this.#replicas?.shared.available === false;
    throw new EgressError(502, blind ? `${here}, and Redis, which knows the other replicas', does not answer` : here);
  }

  /** A stock agent is not asked for what would cost it its tunnel, whoever wants it: another replica as well. */
  #spareStockAgent(session: TunnelSession, nodeName: string, address: string): void {
    if (anyCapability(session.capabilities)) return;
    if (stockAgentAllows(address, this.#table().nodeByName(nodeName))) return;
    throw new EgressError(502, `node ${nodeName}: its agent does not pass on ${address}`);
  }

  async #dialOn(session: TunnelSession, protocol: string, address: string, timeoutMs: number): Promise<Duplex> {
    const stream = session.open(protocol, address);
    const timer = this.#clock.setTimeout(() => {
      stream.destroy(new DialError("timeout", `no answer from the node's agent within ${timeoutMs / 1_000} s`));
    }, timeoutMs);
    const silence = (): void => {};
    stream.on("error", silence);
    try {
      await stream.opened;
    } catch (error) {
      throw error instanceof DialError ? error : new DialError("unreachable", errorMessage(error));
    } finally {
      timer.cancel();
    }
    stream.off("error", silence);
    return stream;
  }

  /** Another replica may hold the session. Its answer about the target is final, its own silence leads to the next. */
  async #dialElsewhere(nodeName: string, address: string, timeoutMs = this.#timeoutMs): Promise<Duplex | undefined> {
    if (this.#replicas === undefined) return undefined;
    const { shared, tls } = this.#replicas;
    let unreachable: DialError | undefined;
    for (const replica of await shared.lookup(nodeName)) {
      const where = parseAuthority(replica);
      if (where === undefined) continue;
      try {
        return await handOver(where, nodeName, address, tls(), timeoutMs);
      } catch (error) {
        if (!(error instanceof DialError)) throw error;
        if (error.failure !== "unreachable") throw dialFailed(nodeName, error);
        unreachable = error;
      }
    }
    if (unreachable !== undefined) throw dialFailed(nodeName, unreachable);
    return undefined;
  }
}

function dialFailed(nodeName: string, error: DialError): EgressError {
  const status = error.failure === "timeout" ? 504 : 502;
  const text = error.message.startsWith(`node ${nodeName}: `) ? error.message : `node ${nodeName}: ${error.message}`;
  return new EgressError(status, text, error);
}
