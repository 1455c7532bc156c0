import type { DialFailure, SessionStats } from "@keelson/protocol/tunnel";
import { Counter, Gauge, Histogram, type Registry } from "@keelson/service";
import type { DirectoryEntry } from "./session-directory.ts";

/** What operators see of the tunnels. Labels are nodes and results, never addresses. */
export class HubMetrics {
  readonly #dials: Counter<"result">;
  readonly #dialSeconds: Histogram<"result">;
  readonly #retired: Counter;
  /** Bytes of sessions that have ended; those of living ones are added when asked. */
  #endedIn = 0;
  #endedOut = 0;

  /** `directoryUp` says whether the other replicas' sessions are known; left out when there are no others. */
  constructor(registry: Registry, entries: () => Iterable<DirectoryEntry>, directoryUp?: () => boolean) {
    const registers = [registry];
    if (directoryUp !== undefined) {
      new Gauge({
        name: "keelson_tunnel_directory_up",
        help: "1 while Redis answers; without it only nodes with a session at this replica are reached",
        registers,
        collect() {
          this.set(directoryUp() ? 1 : 0);
        },
      });
    }
    const stats = (): SessionStats[] => [...entries()].map(({ session }) => session.stats);
    const sum = (pick: (stats: SessionStats) => number): number =>
      stats().reduce((total, entry) => total + pick(entry), 0);
    new Gauge({
      name: "keelson_tunnel_sessions",
      help: "Open tunnel sessions by node",
      labelNames: ["node"],
      registers,
      collect() {
        this.reset();
        for (const { nodeName } of entries()) this.inc({ node: nodeName });
      },
    });
    new Gauge({
      name: "keelson_tunnel_round_trip_seconds",
      help: "Last ping round trip by node",
      labelNames: ["node"],
      registers,
      collect() {
        this.reset();
        for (const { nodeName, session } of entries()) {
          const { roundTripMs } = session.stats;
          if (roundTripMs !== undefined) this.set({ node: nodeName }, roundTripMs / 1_000);
        }
      },
    });
    const gauge = (name: string, help: string, pick: (stats: SessionStats) => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(sum(pick));
        },
      });
    };
    gauge("keelson_tunnel_streams", "Open streams over all sessions", ({ streams }) => streams);
    gauge("keelson_tunnel_paused_streams", "Streams whose reader asked to wait", ({ pausedStreams }) => pausedStreams);
    gauge("keelson_tunnel_queue_bytes", "Bytes that wait for their turn", ({ queuedBytes }) => queuedBytes);
    const endedBytes = (): { in: number; out: number } => ({ in: this.#endedIn, out: this.#endedOut });
    new Counter({
      name: "keelson_tunnel_bytes_total",
      help: "Bytes on the wire of tunnels",
      labelNames: ["direction"],
      registers,
      collect() {
        this.reset();
        const ended = endedBytes();
        this.inc({ direction: "in" }, ended.in + sum(({ bytesIn }) => bytesIn));
        this.inc({ direction: "out" }, ended.out + sum(({ bytesOut }) => bytesOut));
      },
    });
    this.#dials = new Counter({
      name: "keelson_tunnel_dials_total",
      help: "Dials through tunnels by result",
      labelNames: ["result"],
      registers,
    });
    this.#dialSeconds = new Histogram({
      name: "keelson_tunnel_dial_seconds",
      help: "How long dials through tunnels took",
      labelNames: ["result"],
      buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
      registers,
    });
    this.#retired = new Counter({
      name: "keelson_tunnel_stale_sessions_total",
      help: "Sessions that were closed because a newer one of their node took over",
      registers,
    });
  }

  dialled(result: "ok" | "no-session" | DialFailure, durationMs: number): void {
    this.#dials.inc({ result });
    this.#dialSeconds.observe({ result }, durationMs / 1_000);
  }

  staleRetired(): void {
    this.#retired.inc();
  }

  sessionEnded({ bytesIn, bytesOut }: SessionStats): void {
    this.#endedIn += bytesIn;
    this.#endedOut += bytesOut;
  }
}
