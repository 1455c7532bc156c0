import { grpcStatus } from "@keelson/protocol/etcd";
import { Counter, Gauge, Histogram, type Registry } from "@keelson/service";
import type { Core } from "./core.ts";
import { LogUnavailableError } from "./log/append-log.ts";
import type { CallObserver } from "./server/grpc-server.ts";
import { emulatedEtcdVersion } from "./services/maintenance.ts";

/** Name of a status code in grpc_server_handled_total, as grpc-go spells it. */
const codeNames = Object.fromEntries(
  Object.entries(grpcStatus).map(([name, code]) => [code, code === 0 ? "OK" : name[0]!.toUpperCase() + name.slice(1)]),
);
const streaming = /Watch\/Watch$|KeepAlive$|Snapshot$|Observe$|RangeStream$/;

/** Registers what etcd and kine call the same, computed when it is asked for. Returns what counts calls. */
export function registerMetrics(core: Core, registry: Registry): CallObserver {
  const gauge = (name: string, help: string, read: () => number | Promise<number>): void => {
    if (registry.getSingleMetric(name) !== undefined) return;
    new Gauge({
      name,
      help,
      registers: [registry],
      async collect() {
        try {
          this.set(await read());
        } catch (error) {
          // Missing on the page, which is worth the most when something is away. The log says what.
          if (!(error instanceof LogUnavailableError)) throw error;
          this.remove();
        }
      },
    });
  };
  gauge("process_resident_memory_bytes", "Resident memory size in bytes", () => process.memoryUsage.rss());
  gauge(
    "etcd_mvcc_db_total_size_in_bytes",
    "Size of the database as allocated",
    async () => (await core.log.size()).total,
  );
  gauge(
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "Size of the database in use",
    async () => (await core.log.size()).inUse,
  );
  gauge("etcd_server_has_leader", "Whether the database can be written", () =>
    core.queue.failure === undefined ? 1 : 0,
  );
  gauge("etcd_server_is_leader", "Whether this server takes writes", () => (core.queue.failure === undefined ? 1 : 0));
  gauge("etcd_server_leader_changes_seen_total", "Always 0: there is no election", () => 0);
  gauge(
    "etcd_debugging_mvcc_keys_total",
    "Keys, deleted ones that are not compacted included",
    () => core.store.index.size,
  );
  gauge("etcd_debugging_mvcc_current_revision", "Newest revision", () => core.store.committed);
  gauge("etcd_debugging_mvcc_compact_revision", "Compacted revision", () => core.store.compacted);
  gauge("etcd_debugging_mvcc_watcher_total", "Watches", () => core.hub.watchCount);
  gauge("etcd_debugging_mvcc_slow_watcher_total", "Watches that are catching up", () => core.hub.behindCount);
  gauge("etcd_server_proposals_pending", "Writes that wait for a commit", () => core.queue.depth);
  gauge("etcd_debugging_lease_granted_total", "Live leases", () => core.lessor.size);
  gauge("keelson_value_cache_hits_total", "Values found in memory", () => core.cache.hits);
  gauge("keelson_value_cache_misses_total", "Values read from the database", () => core.cache.misses);
  if (registry.getSingleMetric("etcd_server_version") === undefined) {
    new Gauge({
      name: "etcd_server_version",
      help: "Which etcd version is followed",
      labelNames: ["server_version"],
      registers: [registry],
    }).set({ server_version: emulatedEtcdVersion }, 1);
  }
  observeCommits(core, registry);
  return countCalls(registry);
}

function observeCommits(core: Core, registry: Registry): void {
  if (registry.getSingleMetric("etcd_disk_wal_fsync_duration_seconds") !== undefined) return;
  const commits = new Histogram({
    name: "etcd_disk_wal_fsync_duration_seconds",
    help: "Time from sending a batch of writes until it is durable",
    buckets: Array.from({ length: 14 }, (_, power) => 0.001 * 2 ** power),
    registers: [registry],
  });
  const purged = new Counter({
    name: "etcd_debugging_mvcc_db_compaction_keys_total",
    help: "Rows that compaction deleted",
    registers: [registry],
  });
  core.onBatch = (batch) => {
    commits.observe(batch.durationMs / 1_000);
    if (batch.purged > 0) purged.inc(batch.purged);
  };
}

/** Counting must not slow calls down, so it counts in plain numbers and gives them their labels when it is asked. */
export function countCalls(registry: Registry): CallObserver {
  const counts = new Map<string, number[]>();
  if (registry.getSingleMetric("grpc_server_handled_total") === undefined) {
    new Counter({
      name: "grpc_server_handled_total",
      help: "Calls that have ended",
      labelNames: ["grpc_code", "grpc_method", "grpc_service", "grpc_type"],
      registers: [registry],
      collect() {
        this.reset();
        for (const [path, byCode] of counts) {
          const [, service = "", method = ""] = path.split("/");
          const type = streaming.test(path) ? "bidi_stream" : "unary";
          byCode.forEach((count, code) => {
            const labels = {
              grpc_code: codeNames[code] ?? "Unknown",
              grpc_method: method,
              grpc_service: service,
              grpc_type: type,
            };
            this.inc(labels, count);
          });
        }
      },
    });
  }
  return {
    onCall(path, code) {
      let byCode = counts.get(path);
      if (byCode === undefined) {
        byCode = [];
        counts.set(path, byCode);
      }
      byCode[code] = (byCode[code] ?? 0) + 1;
    },
  };
}
