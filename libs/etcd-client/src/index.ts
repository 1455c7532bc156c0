export { type CallOptions, createEtcdClient, type EtcdClient, type EtcdClientOptions } from "./client.ts";
export type { EtcdTls, EtcdTlsSource } from "./grpc-connection.ts";
export type { Watch, WatchHandlers } from "./watch.ts";
