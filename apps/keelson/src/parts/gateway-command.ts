import { hostname } from "node:os";
import { createGateway, type Gateway, gatewayConfig, gatewayOptions } from "@keelson/gateway";
import { type Dependencies, defineOptions, Lifecycle, type OptionValues, type Service } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { daemonOptions, runDaemon } from "../daemon.ts";
import { componentIdentity, componentOptions, registrationClientOf } from "./component.ts";

const options = defineOptions({
  ...gatewayOptions,
  ...componentOptions,
  "kube-api": {
    type: "list",
    default: ["https://127.0.0.1:6444"],
    placeholder: "url",
    help: "Kubernetes API servers behind this gateway",
  },
  redis: {
    type: "string",
    env: "KEELSON_REDIS",
    placeholder: "url",
    help: "Redis in which several gateways tell each other which nodes they hold (in memory without it)",
  },
  "replica-address": {
    type: "string",
    placeholder: "host:port",
    help: "Where other gateways reach this one (<host name>:<port>)",
  },
  ...daemonOptions,
});

export const gatewayCommand = defineCommand({
  options,
  configFile: true,
  async run({ options: values }) {
    return runDaemon("gateway", values, (deps) => new GatewayProcess(values, deps));
  },
});

/** A gateway with an identity of its own, in a process of its own. */
class GatewayProcess implements Service {
  readonly #values: OptionValues<typeof options>;
  readonly #deps: Dependencies;
  readonly #lifecycle: Lifecycle;

  constructor(values: OptionValues<typeof options>, deps: Dependencies) {
    this.#values = values;
    this.#deps = deps;
    this.#lifecycle = new Lifecycle(deps.log);
  }

  async start(): Promise<void> {
    const values = this.#values;
    const identity = await componentIdentity("gateway", values, [], this.#deps);
    await this.#lifecycle.run("identity", identity);
    const registration = registrationClientOf(identity, values);
    this.#lifecycle.onStop("registration client", () => registration.close());
    const redisUrl = values.redis;
    const gateway: Gateway = createGateway(
      {
        ...gatewayConfig(values),
        registration,
        kubeApi: {
          urls: values["kube-api"],
          tls: () => ({ ca: identity.bundle("server-ca"), ...identity.certificate("client-auth-proxy") }),
        },
        tunnel: {
          ownListeners: () => [gateway.address],
          ...(redisUrl === undefined
            ? {}
            : {
                replicas: {
                  redisUrl,
                  advertise: () => values["replica-address"] ?? `${hostname()}:${gateway.address.port}`,
                  tls: () => identity.registrationTls,
                },
              }),
        },
      },
      this.#deps,
    );
    await this.#lifecycle.run("gateway", gateway);
  }

  stop(): Promise<void> {
    return this.#lifecycle.stop();
  }
}
