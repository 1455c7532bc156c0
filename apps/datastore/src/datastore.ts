import type { RequestListener } from "node:http";
import { type Dependencies, type Service, withDefaults } from "@keelson/service";
import { type CompactionPolicy, Core } from "./core.ts";
import { healthChecks } from "./gateway/health-checks.ts";
import { httpEndpoints } from "./gateway/http-endpoints.ts";
import { JsonGateway } from "./gateway/json-gateway.ts";
import { openLog } from "./log/open-log.ts";
import type { DatabaseTlsFiles } from "./log/sql/tls-files.ts";
import { limitYoungGeneration } from "./memory.ts";
import { registerMetrics } from "./metrics.ts";
import { GrpcServer } from "./server/grpc-server.ts";
import { Listener, type ListenOptions } from "./server/listener.ts";
import { etcdMethods } from "./services/etcd-methods.ts";

export interface DatastoreConfig {
  /** Database, as kine and k3s take it: `sqlite:///path`, `postgres://…`, `mysql://…`, `http(s)://…` for an etcd. */
  endpoint: string;
  /** Files for TLS towards the database. */
  databaseTls?: DatabaseTlsFiles;
  /** Addresses to serve etcd's API on. */
  listen: readonly ListenOptions[];
  /** Client URLs that other machines reach this server by; the listen addresses when empty. */
  advertiseClientUrls?: readonly string[];
  /** Name in MemberList ("keelson"). */
  name?: string;
  /** Memory for values, in bytes (48 MiB). */
  cacheBytes?: number;
  /** Compaction of our own accord (5 minutes, at least 1,000 and at most 250,000 revisions). */
  compaction?: Partial<CompactionPolicy>;
  /** Period of progress notifications to watches that ask for them (5 s). */
  progressNotifyIntervalMs?: number;
}

export interface Datastore extends Service {
  /** URLs that are served, with the actual ports, once started. */
  readonly addresses: readonly string[];
  /** Serves on one more address, after the start: certificates may come from what is stored here. Resolves to its URL. */
  listen(options: ListenOptions): Promise<string>;
}

const defaultCompaction: CompactionPolicy = { retentionMs: 300_000, minRetain: 1_000, maxRetain: 250_000 };

/** Serves etcd's v3 API from the database that `config.endpoint` names. */
export function createDatastore(config: DatastoreConfig, deps: Partial<Dependencies> = {}): Datastore {
  const { log: logger, clock, registry } = withDefaults(deps);
  const addresses: string[] = [];
  const log = openLog(config.endpoint, {
    logger,
    clock,
    registry,
    ...(config.databaseTls === undefined ? {} : { tls: config.databaseTls }),
  });
  const core = new Core({
    log,
    clock,
    logger,
    cacheBytes: config.cacheBytes ?? 48 << 20,
    compaction: { ...defaultCompaction, ...config.compaction },
    progressNotifyIntervalMs: config.progressNotifyIntervalMs ?? 5_000,
  });
  const listeners: Listener[] = [];
  let grpc: GrpcServer | undefined;
  let onHttp: RequestListener | undefined;
  const listen = async (options: ListenOptions): Promise<string> => {
    if (grpc === undefined || onHttp === undefined) {
      const { methods, alarms } = etcdMethods(core);
      grpc = new GrpcServer(methods, logger, registerMetrics(core, registry));
      onHttp = httpEndpoints(new JsonGateway(methods), registry, healthChecks(core, alarms));
    }
    const listener = new Listener(options, grpc, onHttp);
    listeners.push(listener);
    const url = await listener.start();
    addresses.push(url);
    return url;
  };
  return {
    addresses,
    listen,
    async start() {
      limitYoungGeneration();
      await core.start();
      for (const options of config.listen) await listen(options);
      const clientUrls = config.advertiseClientUrls ?? addresses.filter((url) => !url.startsWith("unix:"));
      log.announce({ name: config.name ?? "keelson", clientUrls });
      logger.info({ addresses }, "datastore ready");
    },
    async stop() {
      for (const listener of listeners.splice(0)) await listener.stop();
      await core.stop();
    },
  };
}
