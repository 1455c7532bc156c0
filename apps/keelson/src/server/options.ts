import { nodeOptions } from "@keelson/agent/node-options";
import { dataDirOption, defineOptions } from "@keelson/service";
import { etcdOptions } from "../etcd/options.ts";
import { upstreamOptions } from "../upstream/options.ts";
import { clusterOptions } from "./cluster-options.ts";

/** Flags of `keelson server`: k3s's names, variables and defaults where the meaning is the same. */
export const serverOptions = defineOptions({
  "data-dir": { ...dataDirOption, help: "Folder that holds everything the server keeps" },
  token: {
    type: "list",
    // A password may contain anything: more than one are given one by one.
    keepCommas: true,
    short: "t",
    env: "K3S_TOKEN",
    secret: true,
    help: "Cluster secret; more than one are tried in turn when joining (a new cluster without one makes its own)",
  },
  "token-file": {
    type: "string",
    env: "K3S_TOKEN_FILE",
    insteadOf: "token",
    placeholder: "file",
    help: "File with the cluster secret",
  },
  "agent-token": {
    type: "string",
    env: "K3S_AGENT_TOKEN",
    secret: true,
    help: "Separate secret for agents, which then cannot join with the cluster secret",
  },
  "agent-token-file": {
    type: "string",
    env: "K3S_AGENT_TOKEN_FILE",
    insteadOf: "agent-token",
    placeholder: "file",
    help: "File with the agent token",
  },

  server: {
    type: "string",
    short: "s",
    env: "K3S_URL",
    placeholder: "url",
    help: "Join the cluster of this server (with its embedded etcd), https://<fixed registration address>:6443",
  },

  "bind-address": { type: "string", default: "0.0.0.0", placeholder: "ip", help: "Address the gateway listens on" },
  "https-listen-port": { type: "number", default: 6443, placeholder: "port", help: "Port of the gateway" },
  "advertise-address": {
    type: "string",
    placeholder: "ip",
    help: "Address published to agents (the node's address)",
  },
  "advertise-port": { type: "number", placeholder: "port", help: "Port published to agents (the listen port)" },
  "tls-san": { type: "list", placeholder: "name", help: "More names and addresses for the serving certificate" },
  "tls-san-security": {
    type: "boolean",
    default: true,
    help: "Take only known names and node addresses into the serving certificate",
  },

  "node-name": {
    type: "string",
    env: "K3S_NODE_NAME",
    placeholder: "name",
    help: "Name of this server (its host name)",
  },
  "node-ip": { type: "list", short: "i", placeholder: "ip", help: "Addresses of this server (found by itself)" },
  "disable-agent": { type: "boolean", help: "Do not register this server as a node" },
  ...nodeOptions,
  // A host that serves the API runs pods only when it is told to.
  "kubelet-path": { ...nodeOptions["kubelet-path"], help: "kubelet to run on this server (none)" },
  "lb-server-port": {
    type: "number",
    default: 6444,
    env: "K3S_LB_SERVER_PORT",
    placeholder: "port",
    help: "Load balancer port of this server's own agent",
  },
  "node-password-file": {
    type: "string",
    default: "/etc/rancher/node/password",
    placeholder: "file",
    help: "Where the node password is kept",
  },

  "datastore-endpoint": {
    type: "string",
    env: "K3S_DATASTORE_ENDPOINT",
    secret: true,
    placeholder: "url",
    help: "sqlite://, postgres://, mysql:// or http(s):// of an external etcd (SQLite below the data directory)",
  },
  "datastore-cafile": {
    type: "string",
    env: "K3S_DATASTORE_CAFILE",
    placeholder: "file",
    help: "CA of the external datastore",
  },
  "datastore-certfile": {
    type: "string",
    env: "K3S_DATASTORE_CERTFILE",
    placeholder: "file",
    help: "Client certificate for the external datastore",
  },
  "datastore-keyfile": {
    type: "string",
    env: "K3S_DATASTORE_KEYFILE",
    placeholder: "file",
    help: "Client key for the external datastore",
  },
  "datastore-listen-address": {
    type: "string",
    default: "127.0.0.1:2379",
    placeholder: "ip:port",
    help: 'Where the etcd API is offered to clients with a certificate ("" for nowhere)',
  },

  ...etcdOptions,
  ...upstreamOptions,

  "cluster-cidr": { type: "list", default: ["10.42.0.0/16"], placeholder: "cidr", help: "Networks of pods" },
  "service-cidr": { type: "list", default: ["10.43.0.0/16"], placeholder: "cidr", help: "Networks of services" },
  "service-node-port-range": {
    type: "string",
    default: "30000-32767",
    placeholder: "range",
    help: "Ports for services of type NodePort",
  },
  "cluster-dns": { type: "list", placeholder: "ip", help: "Address of the DNS service (tenth of the service network)" },
  "cluster-domain": { type: "string", default: "cluster.local", placeholder: "domain", help: "Domain of the cluster" },
  "egress-selector-mode": {
    type: "string",
    default: "agent",
    oneOf: ["disabled", "agent", "pod", "cluster"],
    placeholder: "mode",
    help: "Which traffic to nodes goes through their tunnels: disabled, agent, pod or cluster",
  },

  ...clusterOptions,

  "write-kubeconfig": {
    type: "string",
    short: "o",
    env: "K3S_KUBECONFIG_OUTPUT",
    placeholder: "file",
    help: "Where the admin kubeconfig is written (<data-dir>/server/cred/keelson.yaml)",
  },
  "write-kubeconfig-mode": {
    type: "string",
    default: "0600",
    env: "K3S_KUBECONFIG_MODE",
    placeholder: "mode",
    help: "File mode of the admin kubeconfig",
  },
});
