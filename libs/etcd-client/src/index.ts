export { type CallOptions, createEtcdClient, type EtcdClient, type EtcdClientOptions } from "./client.ts";
export { Endpoints } from "./endpoints.ts";
export {
  CallFailure,
  type EtcdTls,
  type EtcdTlsSource,
  GrpcConnection,
  type GrpcMetadata,
  type GrpcStream,
  type GrpcStreamHandlers,
} from "./grpc-connection.ts";
export { type EtcdTlsFiles, tlsFromFiles } from "./tls-files.ts";
export type { Watch, WatchHandlers } from "./watch.ts";
