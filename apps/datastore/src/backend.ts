import type { Dependencies } from "@keelson/service";
import { type CompactionPolicy, Core } from "./core.ts";
import type { DatastoreConfig } from "./datastore.ts";
import { defaultCacheBytes } from "./engine/value-cache.ts";
import { healthChecks } from "./gateway/health-checks.ts";
import type { HealthChecks } from "./gateway/http-endpoints.ts";
import { openLog } from "./log/open-log.ts";
import { countCalls, registerMetrics } from "./metrics.ts";
import { etcdEndpoint, etcdTls, parseEtcdEndpoints } from "./proxy/etcd-endpoint.ts";
import { EtcdUpstream } from "./proxy/etcd-upstream.ts";
import { proxyChecks, proxyMethods } from "./proxy/proxy-methods.ts";
import type { CallObserver } from "./server/grpc-server.ts";
import type { Method } from "./server/rpc.ts";
import { etcdMethods } from "./services/etcd-methods.ts";

/** What stands behind the open ports: an engine on a database, or a real etcd. */
export interface Backend {
  /** Resolves with what to serve. */
  start(): Promise<Served>;
  /** The addresses are known. */
  announce(clientUrls: readonly string[]): void;
  stop(): Promise<void>;
}

export interface Served {
  methods: Method[];
  observer: CallObserver;
  checks: HealthChecks;
}

const defaultCompaction: CompactionPolicy = { retentionMs: 300_000, minRetain: 1_000, maxRetain: 250_000 };

export function createBackend(config: DatastoreConfig, deps: Dependencies): Backend {
  return etcdEndpoint.test(config.endpoint) ? etcdBackend(config, deps) : databaseBackend(config, deps);
}

function databaseBackend(config: DatastoreConfig, { log: logger, clock, registry }: Dependencies): Backend {
  const tls = config.databaseTls === undefined ? {} : { tls: config.databaseTls };
  const log = openLog(config.endpoint, { logger, clock, registry, slowQueryMs: config.slowSqlMs, ...tls });
  const core = new Core({
    log,
    clock,
    logger,
    cacheBytes: config.cacheBytes ?? defaultCacheBytes,
    compaction: { ...defaultCompaction, ...config.compaction },
    progressNotifyIntervalMs: config.progressNotifyIntervalMs ?? 5_000,
  });
  return {
    async start() {
      await core.start();
      const { methods, alarms } = etcdMethods(core);
      return { methods, observer: registerMetrics(core, registry), checks: healthChecks(core, alarms) };
    },
    announce: (clientUrls) => log.announce({ name: config.name ?? "keelson", clientUrls }),
    stop: () => core.stop(),
  };
}

/** A real etcd: everything is passed on, with the same ports, TLS, health and metrics in front. */
function etcdBackend(config: DatastoreConfig, { log: logger, registry }: Dependencies): Backend {
  const endpoints = parseEtcdEndpoints(config.endpoint);
  const upstream = new EtcdUpstream(endpoints, etcdTls(config.databaseTls));
  return {
    async start() {
      logger.info({ endpoints }, "passing requests on to etcd");
      return { methods: proxyMethods(upstream), observer: countCalls(registry), checks: proxyChecks(upstream) };
    },
    announce() {},
    async stop() {
      upstream.close();
    },
  };
}
