import { splitAddress } from "@keelson/load-balancer";
import { type SessionEpoch, TunnelSession } from "@keelson/protocol/tunnel";
import { Backoff, type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import { openTunnel, type TunnelTls } from "./open-tunnel.ts";
import { type ConnectPolicy, serveConnect } from "./serve-connect.ts";

/** One tunnel as status shows it. */
export interface TunnelStatus {
  address: string;
  state: "connecting" | "open" | "waiting";
  /** When it opened, or when it was last open; of the monotonic clock. */
  sinceMs: number;
  /** `keelson` with extensions, `k3s` without. */
  peer: "keelson" | "k3s" | undefined;
  streams: number;
  roundTripMs: number | undefined;
  bytesIn: number;
  bytesOut: number;
  /** The server asked for no more streams: it is shutting down. */
  leaving: boolean;
  /** Why it is not open, or last was not, and when that was; of the monotonic clock. */
  lastError: { reason: string; atMs: number } | undefined;
}

export interface TunnelClientDeps {
  tls: () => TunnelTls;
  policy: ConnectPolicy;
  nextEpoch: () => number;
  clock: Clock;
  log: Logger;
  /** The tunnel opened, closed, or its server announced to leave. */
  onChange: (address: string, event: "open" | "closed" | "leaving") => void;
}

/** Keeps one tunnel to one server open: reconnects at once with jitter, then with growing delays up to 5 s, for ever. */
export class TunnelClient {
  readonly address: string;
  readonly #deps: TunnelClientDeps;
  readonly #instance: string;
  readonly #backoff = new Backoff({ initialMs: 250, maxMs: 5_000 });
  readonly #abort = new AbortController();
  #state: TunnelStatus["state"] = "connecting";
  #stateSinceMs: number;
  #session: TunnelSession | undefined;
  #retry: Timer | undefined;
  #lastError: TunnelStatus["lastError"];
  #peer: TunnelStatus["peer"];

  constructor(address: string, instance: string, deps: TunnelClientDeps) {
    this.address = address;
    this.#deps = deps;
    // Two addresses may lead to one server: each address is an instance of its own, so that they do not replace each other.
    this.#instance = `${instance}-${address.replace(/[^A-Za-z0-9]/g, "_")}`.slice(0, 64);
    this.#stateSinceMs = deps.clock.monotonic();
  }

  get open(): boolean {
    return this.#state === "open";
  }

  start(): void {
    void this.#connect();
  }

  /** Says good-bye (open streams of the server may finish elsewhere) and closes. */
  stop(reason: string): void {
    this.#abort.abort();
    this.#retry?.cancel();
    this.#session?.drain();
    this.#session?.close(reason);
  }

  /** Asks the server for no more streams through this tunnel; those that run go on. */
  drain(): void {
    this.#session?.drain();
  }

  /** Tries again now instead of at the end of the current delay. */
  retryNow(): void {
    if (this.#state !== "waiting" || this.#abort.signal.aborted) return;
    this.#retry?.cancel();
    void this.#connect();
  }

  status(): TunnelStatus {
    const stats = this.#session?.stats;
    return {
      address: this.address,
      state: this.#state,
      sinceMs: this.#stateSinceMs,
      peer: this.#peer,
      streams: stats?.streams ?? 0,
      roundTripMs: stats?.roundTripMs,
      bytesIn: stats?.bytesIn ?? 0,
      bytesOut: stats?.bytesOut ?? 0,
      leaving: this.#session?.draining ?? false,
      lastError: this.#lastError,
    };
  }

  /** Never rejects. */
  async #connect(): Promise<void> {
    const { signal } = this.#abort;
    this.#enter("connecting");
    const epoch: SessionEpoch = { instance: this.#instance, epoch: this.#deps.nextEpoch() };
    try {
      const { socket, head, capabilities } = await openTunnel(
        splitAddress(this.address),
        this.#deps.tls(),
        epoch,
        signal,
      );
      if (signal.aborted) return void socket.destroy();
      this.#peer = capabilities.ack ? "keelson" : "k3s";
      const session: TunnelSession = new TunnelSession({
        role: "client",
        transport: socket,
        head,
        capabilities,
        sessionName: "client/0",
        clock: this.#deps.clock,
        onConnect: (stream, target) => serveConnect(session, stream, target, this.#deps.policy),
        onDraining: () => this.#deps.onChange(this.address, "leaving"),
        onClosed: ({ message }) => this.#lost(message),
      });
      this.#session = session;
      this.#backoff.reset();
      this.#enter("open");
      this.#deps.log.info({ server: this.address, peer: this.#peer }, "tunnel open");
      this.#deps.onChange(this.address, "open");
    } catch (error) {
      if (!signal.aborted) this.#waitAfter(errorMessage(error));
    }
  }

  #lost(message: string): void {
    this.#session = undefined;
    this.#deps.onChange(this.address, "closed");
    if (this.#abort.signal.aborted) return;
    this.#deps.log.warn({ server: this.address, reason: message }, "tunnel closed");
    this.#waitAfter(message);
  }

  #waitAfter(message: string): void {
    const first = this.#backoff.attempt === 0;
    if (first && this.#lastError?.reason !== message) {
      this.#deps.log.warn({ server: this.address, reason: message }, "no tunnel, trying again");
    }
    this.#lastError = { reason: message, atMs: this.#deps.clock.monotonic() };
    this.#enter("waiting");
    this.#retry = this.#deps.clock.setTimeout(() => void this.#connect(), this.#backoff.next());
  }

  #enter(state: TunnelStatus["state"]): void {
    // People ask since when the tunnel is down, not since when the current attempt runs.
    if ((state === "open") !== (this.#state === "open")) this.#stateSinceMs = this.#deps.clock.monotonic();
    this.#state = state;
  }
}
