import { preference, type ServerState } from "./server-state.ts";

/** Outcome of a health check; `unknown` (no answer yet, nothing to go by) changes nothing. */
export type CheckResult = "ok" | "failed" | "leaving" | "unknown";

/** What the list asks of its owner. */
export type ListEffect =
  | { kind: "state"; address: string; from: ServerState; to: ServerState; reason: string }
  /** Close what is open to the server: now, or after so many milliseconds what it has not closed itself. */
  | { kind: "close-connections"; address: string; reason: string; graceMs: number }
  /** Listed addresses changed: to be remembered for the next start. */
  | { kind: "addresses"; addresses: readonly string[] };

/** A server as status shows it. */
export interface ServerStatus {
  address: string;
  state: ServerState;
  /** Why it is in this state, for people. */
  reason: string;
  /** When it entered the state, milliseconds of the caller's monotonic clock. */
  sinceMs: number;
  connections: number;
  /** A registration address given by the user. */
  registration: boolean;
  /** In the list that the cluster published. */
  listed: boolean;
  /** Its last check or dial failed, so whoever is connected to it may wait in vain: since when, and why; else undefined. */
  down: { sinceMs: number; reason: string } | undefined;
}

/** How long a confirmed server stays preferred over those that were healthy before. */
const preferredMs = 60_000;

/**
 * A server that leaves the list in good health is most often shutting down: it finishes what it was asked and closes by
 * itself. (Stock cuts at once, and fails the requests under way.)
 */
const leaveGraceMs = 5_000;

/**
 * The servers and their states: a state machine without sockets or timers. Every call returns what is to be done, and
 * {@link ServerList.candidates} is the order in which a new connection tries them.
 */
export class ServerList {
  readonly #servers = new Map<string, ServerStatus>();
  readonly #now: () => number;
  #effects: ListEffect[] = [];

  constructor(nowMs: () => number) {
    this.#now = nowMs;
  }

  /** Registration addresses: always kept, in the given order. Replaces the former ones. */
  setRegistration(addresses: readonly string[]): ListEffect[] {
    for (const server of this.#servers.values()) server.registration = addresses.includes(server.address);
    for (const address of addresses) {
      const server = this.#servers.get(address);
      if (server === undefined) this.#add(address, { registration: true, listed: false });
      else if (server.state === "invalid") this.#move(server, "standby", "registration address");
    }
    for (const server of this.#servers.values()) this.#dropIfUnwanted(server, "no longer a registration address");
    return this.#take();
  }

  /** The list that the cluster published. An empty one is not believed: a cluster always has a server. */
  setListed(addresses: readonly string[]): ListEffect[] {
    if (addresses.length === 0) return [];
    const before = this.listed;
    for (const address of addresses) {
      const server = this.#servers.get(address);
      if (server === undefined) this.#add(address, { registration: false, listed: true });
      else if (!server.listed) this.#list(server);
    }
    for (const server of this.#servers.values()) {
      if (!server.listed || addresses.includes(server.address)) continue;
      server.listed = false;
      if (server.registration) {
        this.#closeConnections(
          server,
          "the cluster no longer lists this server",
          server.down === undefined ? leaveGraceMs : 0,
        );
        this.#move(server, "standby", "registration address that the cluster does not list");
      } else {
        this.#dropIfUnwanted(server, "the cluster no longer lists this server");
      }
    }
    const after = this.listed;
    if (before.join() !== after.join()) this.#effects.push({ kind: "addresses", addresses: after });
    return this.#take();
  }

  /** Addresses the cluster listed, sorted. */
  get listed(): readonly string[] {
    return [...this.#servers.values()].flatMap((server) => (server.listed ? [server.address] : [])).sort();
  }

  /** Every address worth dialling, best first: by state, then by open connections. */
  candidates(): readonly string[] {
    return [...this.#servers.values()]
      .filter((server) => server.state !== "invalid")
      .sort((a, b) => preference(b.state) - preference(a.state) || b.connections - a.connections)
      .map((server) => server.address);
  }

  status(): readonly ServerStatus[] {
    return [...this.#servers.values()]
      .sort((a, b) => preference(b.state) - preference(a.state) || a.address.localeCompare(b.address))
      .map((server) => ({ ...server }));
  }

  /** A connection to the server was opened for a client. */
  connectionOpened(address: string): ListEffect[] {
    const server = this.#servers.get(address);
    if (server === undefined) return [];
    server.connections++;
    return this.#succeed(server, "dial", "a connection succeeded");
  }

  connectionClosed(address: string): ListEffect[] {
    const server = this.#servers.get(address);
    if (server === undefined) return [];
    server.connections--;
    this.#forgetIfDone(server);
    return this.#take();
  }

  dialFailed(address: string, reason: string): ListEffect[] {
    const server = this.#servers.get(address);
    if (server === undefined) return [];
    this.#fail(server, reason);
    return this.#take();
  }

  checked(address: string, result: CheckResult, reason: string): ListEffect[] {
    const server = this.#servers.get(address);
    if (server === undefined || result === "unknown") return [];
    if (result === "ok") return this.#succeed(server, "check", reason);
    if (result === "leaving") {
      // New connections go elsewhere; what runs may finish, the server closes it when it goes.
      if (server.state !== "invalid" && server.state !== "standby") this.#move(server, "failed", reason);
      return this.#take();
    }
    // Stock lets unchecked and recovering servers fall by a failed dial only, and then stays for ever with one that accepts
    // connections and never answers. Our check asks the server itself, so its word counts in every state.
    this.#fail(server, reason);
    return this.#take();
  }

  #succeed(server: ServerStatus, by: "dial" | "check", reason: string): ListEffect[] {
    // A connection that opens shows little: a stopped process accepts them too.
    if (by === "check") server.down = undefined;
    switch (server.state) {
      case "unchecked":
      case "failed":
        this.#move(server, "recovering", reason);
        break;
      case "recovering":
        if (by === "check") {
          if (server.connections > 0) this.#activate(server);
          else this.#move(server, "preferred", reason);
          this.#leaveTheDown(server);
        }
        break;
      case "healthy":
      case "preferred":
        if (by === "dial") this.#activate(server);
        else if (server.state === "preferred" && this.#now() - server.sinceMs >= preferredMs) {
          this.#move(server, "healthy", "confirmed for a minute");
        }
        break;
      default:
        break;
    }
    return this.#take();
  }

  /** The server becomes the one that serves, unless another active one has more connections. */
  #activate(server: ServerStatus): void {
    for (const peer of this.#servers.values()) {
      if (peer === server || peer.state !== "active") continue;
      if (peer.connections > server.connections) {
        this.#closeConnections(server, `${peer.address} serves already`);
        this.#move(server, "preferred", `${peer.address} serves already`);
        return;
      }
      this.#move(peer, "preferred", `${server.address} took over`);
      this.#closeConnections(peer, `${server.address} took over`);
    }
    for (const peer of this.#servers.values()) {
      const left = ["failed", "standby", "recovering", "healthy"].includes(peer.state);
      if (peer !== server && left) this.#closeConnections(peer, `${server.address} took over`);
    }
    this.#move(server, "active", "serves new connections");
  }

  #fail(server: ServerStatus, reason: string): void {
    if (server.state === "invalid") return;
    server.down = { sinceMs: server.down?.sinceMs ?? this.#now(), reason };
    if (server.state === "standby") server.reason = `registration address, last failure: ${reason}`;
    else this.#move(server, "failed", reason);
    const elsewhere = [...this.#servers.values()].find(
      (peer) => peer !== server && peer.down === undefined && preference(peer.state) > preference("standby"),
    );
    if (elsewhere !== undefined) this.#closeConnections(server, reason);
  }

  /**
   * Connections of a server that is down are closed, so that clients notice at once and come back elsewhere: when it fails,
   * or, while there was no elsewhere, as soon as one is confirmed. A lone server that pauses for a moment keeps its watches.
   */
  #leaveTheDown(confirmed: ServerStatus): void {
    for (const peer of this.#servers.values()) {
      if (peer === confirmed || peer.down === undefined) continue;
      this.#closeConnections(peer, `${peer.reason}; ${confirmed.address} answers`);
    }
  }

  #list(server: ServerStatus): void {
    server.listed = true;
    this.#move(server, "unchecked", "listed by the cluster");
  }

  #add(address: string, kind: { registration: boolean; listed: boolean }): void {
    const [state, reason]: [ServerState, string] = kind.listed
      ? ["unchecked", "listed by the cluster, not tried yet"]
      : ["standby", "registration address"];
    this.#servers.set(address, {
      address,
      state,
      reason,
      sinceMs: this.#now(),
      connections: 0,
      down: undefined,
      ...kind,
    });
    this.#effects.push({ kind: "state", address, from: "invalid", to: state, reason });
  }

  #dropIfUnwanted(server: ServerStatus, reason: string): void {
    if (server.registration || server.listed || server.state === "invalid") return;
    this.#move(server, "invalid", reason);
    this.#closeConnections(server, reason, server.down === undefined ? leaveGraceMs : 0);
    this.#forgetIfDone(server);
  }

  #forgetIfDone(server: ServerStatus): void {
    if (server.state === "invalid" && server.connections <= 0) this.#servers.delete(server.address);
  }

  #closeConnections({ address, connections }: ServerStatus, reason: string, graceMs = 0): void {
    if (connections > 0) this.#effects.push({ kind: "close-connections", address, reason, graceMs });
  }

  #move(server: ServerStatus, to: ServerState, reason: string): void {
    const from = server.state;
    server.reason = reason;
    if (from === to) return;
    server.state = to;
    server.sinceMs = this.#now();
    this.#effects.push({ kind: "state", address: server.address, from, to, reason });
  }

  #take(): ListEffect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }
}
