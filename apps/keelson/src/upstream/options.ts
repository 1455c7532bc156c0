import { defineOptions } from "@keelson/service";

/** Options for running upstream Kubernetes programs instead of the embedded API. Names are k3s's where k3s has them. */
export const upstreamOptions = defineOptions({
  "kube-apiserver-path": {
    type: "string",
    placeholder: "file",
    help: "kube-apiserver to run instead of the embedded API",
  },
  "kube-controller-manager-path": {
    type: "string",
    placeholder: "file",
    help: "kube-controller-manager to run beside kube-apiserver",
  },
  "kube-scheduler-path": { type: "string", placeholder: "file", help: "kube-scheduler to run beside kube-apiserver" },
  "kube-apiserver-port": {
    type: "number",
    default: 6444,
    placeholder: "port",
    help: "Loopback port of that kube-apiserver, behind the gateway",
  },
  "kube-apiserver-arg": {
    type: "list",
    keepCommas: true,
    placeholder: "name=value",
    help: "More flags for kube-apiserver",
  },
  "kube-controller-manager-arg": {
    type: "list",
    keepCommas: true,
    placeholder: "name=value",
    help: "More flags for kube-controller-manager",
  },
  "kube-scheduler-arg": {
    type: "list",
    keepCommas: true,
    placeholder: "name=value",
    help: "More flags for kube-scheduler",
  },
});
