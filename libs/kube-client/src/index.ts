export {
  createKubeClient,
  type KubeClient,
  type KubeClientOptions,
  type ListOptions,
  type PatchType,
  type WatchOptions,
} from "./client.ts";
export { isAlreadyExists, isConflict, isExpired, isNotFound, KubeError } from "./errors.ts";
export { fileKubeconfig } from "./file-kubeconfig.ts";
export { type Change, createInformer, type Informer, type InformerOptions } from "./informer.ts";
export type { KubeTarget } from "./transport.ts";
export {
  type KubeList,
  type KubeObject,
  type ObjectMeta,
  type OwnerReference,
  type ResourceRef,
  resourcePath,
  resources,
} from "./types.ts";
export type { WatchEvent } from "./watch.ts";
