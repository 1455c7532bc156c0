export { type ApiEndpointsConfig, createApiEndpoints } from "./controllers/create-api-endpoints.ts";
export type { ListenTarget } from "./http/listener.ts";
export { createKubeApi, type KubeApi, type KubeApiConfig } from "./kube-api.ts";
export { kubeApiOptions } from "./options.ts";
