import { join } from "node:path";
import { dataDirOption, defineOptions, type OptionValues, opsListenOption, parseListenAddress } from "@keelson/service";

/** Options of a gateway; the names are K3s's where the meaning is the same. */
export const gatewayOptions = defineOptions({
  "bind-address": { type: "string", default: "0.0.0.0", help: "Address the public port listens on." },
  "https-listen-port": { type: "number", default: 6443, help: "Public port: supervisor API and Kubernetes API." },
  "data-dir": { ...dataDirOption, help: "Folder of the server's state." },
  ...opsListenOption,
  "max-connections-per-address": {
    type: "number",
    default: 16_384,
    help: "Connections one peer address may hold; peers behind one load balancer share its address. 0 means no limit.",
  },
  "drain-timeout": {
    type: "duration",
    default: "10s",
    help: "How long requests under way may take to finish when the gateway stops.",
  },
});

/** The part of a gateway's configuration that its own options give; the rest is composed in code. */
export function gatewayConfig(values: OptionValues<typeof gatewayOptions>) {
  const directory = join(values["data-dir"], "server");
  const ops = values["ops-listen"];
  return {
    listen: { host: values["bind-address"], port: values["https-listen-port"] },
    listenerDirectory: join(directory, "tls"),
    staticDirectory: join(directory, "static"),
    limits: { connectionsPerAddress: values["max-connections-per-address"] },
    drainTimeoutMs: values["drain-timeout"],
    ...(ops === undefined ? {} : { ops: parseListenAddress("ops-listen", ops) }),
  };
}
