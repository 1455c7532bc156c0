import { defineOptions } from "@keelson/service";

/** Options of an API server that runs alone. */
export const kubeApiOptions = defineOptions({
  "bind-address": { type: "string", default: "0.0.0.0", placeholder: "ip", help: "Address the API listens on" },
  "secure-port": { type: "number", default: 6444, placeholder: "port", help: "Port of the API" },
  "advertise-address": {
    type: "string",
    placeholder: "ip",
    help: "Address of the gateway that is published to agents",
  },
  "advertise-port": { type: "number", default: 6443, placeholder: "port", help: "Port of that gateway" },
  "etcd-servers": {
    type: "list",
    default: ["https://127.0.0.1:2379"],
    placeholder: "url",
    help: "Datastore, as etcd client URLs",
  },
  "etcd-cafile": {
    type: "string",
    placeholder: "file",
    help: "Authorities of the datastore's certificate (the cluster's own without it)",
  },
  "etcd-certfile": { type: "string", placeholder: "file", help: "Client certificate for the datastore" },
  "etcd-keyfile": { type: "string", placeholder: "file", help: "Key of the client certificate" },
  "service-cidr": { type: "string", default: "10.43.0.0/16", placeholder: "cidr", help: "Network of services" },
  "gateway-url": {
    type: "string",
    placeholder: "url",
    help: "Gateway that reaches nodes through their tunnels (nodes are dialled directly without it)",
  },
});
