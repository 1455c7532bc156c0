import { type Dependencies, KeelsonError, type Service, withDefaults } from "@keelson/service";
import { createBackend } from "./backend.ts";
import type { CompactionPolicy } from "./core.ts";
import { httpEndpoints } from "./gateway/http-endpoints.ts";
import type { HttpExchange } from "./gateway/http-exchange.ts";
import { JsonGateway } from "./gateway/json-gateway.ts";
import type { DatabaseTlsFiles } from "./log/sql/tls-files.ts";
import { limitOldGeneration, limitYoungGeneration } from "./memory.ts";
import { GrpcServer } from "./server/grpc-server.ts";
import { clientUrl } from "./server/listen-url.ts";
import { Listener, type ListenOptions, type ListenTls } from "./server/listener.ts";

export interface DatastoreConfig {
  /** Database, as kine and k3s take it: `sqlite:///path`, `postgres://…`, `mysql://…`, `http(s)://…` for an etcd. */
  endpoint: string;
  /** Files for TLS towards the database. */
  databaseTls?: DatabaseTlsFiles;
  /** Statements to the database that take longer are logged, in milliseconds (1000); 0 turns that off. */
  slowSqlMs?: number;
  /** Addresses to serve etcd's API on. */
  listen: readonly ListenOptions[];
  /** Client URLs that other machines reach this server by; the listen addresses when empty. */
  advertiseClientUrls?: readonly string[];
  /** Name in MemberList ("keelson"). */
  name?: string;
  /** Memory for values, in bytes (64 MiB). */
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
  /** Gives all https:// addresses another certificate for the connections to come. */
  updateTls(tls: ListenTls): void;
}

/** Serves etcd's v3 API from the database that `config.endpoint` names. */
export function createDatastore(config: DatastoreConfig, deps: Partial<Dependencies> = {}): Datastore {
  const dependencies = withDefaults(deps);
  const { log: logger, registry } = dependencies;
  const backend = createBackend(config, dependencies);
  const addresses: string[] = [];
  const listeners: Listener[] = [];
  let serving: { grpc: GrpcServer; onHttp: (exchange: HttpExchange) => void } | undefined;

  const listen = async (options: ListenOptions): Promise<string> => {
    if (serving === undefined) throw new KeelsonError("datastore/not-started", "the datastore is not started yet");
    const listener = new Listener(options, serving.grpc, serving.onHttp, logger);
    listeners.push(listener);
    const url = await listener.start();
    addresses.push(url);
    return url;
  };

  return {
    addresses,
    listen,
    updateTls(tls) {
      for (const listener of listeners) listener.updateTls(tls);
    },
    async start() {
      limitYoungGeneration();
      const { methods, observer, checks } = await backend.start();
      limitOldGeneration();
      serving = {
        grpc: new GrpcServer(methods, logger, observer),
        onHttp: httpEndpoints(new JsonGateway(methods), registry, checks),
      };
      for (const options of config.listen) await listen(options);
      backend.announce(
        config.advertiseClientUrls ?? addresses.filter((url) => !url.startsWith("unix:")).map(clientUrl),
      );
      logger.info({ addresses }, "datastore ready");
    },
    async stop() {
      for (const listener of listeners.splice(0)) await listener.stop();
      await backend.stop();
    },
  };
}
