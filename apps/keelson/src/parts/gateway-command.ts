import { hostname } from "node:os";
import { createGateway, type Gateway, gatewayConfig, gatewayOptions } from "@keelson/gateway";
import { composeService, type Dependencies, defineOptions, type Lifecycle, type OptionValues } from "@keelson/service";
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
    return runDaemon("gateway", values, (deps) =>
      composeService(deps.log, (lifecycle) => startGateway(values, deps, lifecycle)),
    );
  },
});

/** A gateway with an identity of its own, in a process of its own. */
async function startGateway(
  values: OptionValues<typeof options>,
  deps: Dependencies,
  lifecycle: Lifecycle,
): Promise<void> {
  const identity = await componentIdentity("gateway", values, [], deps);
  await lifecycle.run("identity", identity);
  const registration = registrationClientOf(identity, values);
  lifecycle.onStop("registration client", () => registration.close());
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
    deps,
  );
  await lifecycle.run("gateway", gateway);
  const unfollow = identity.onRenewed(() => {
    gateway.refresh().catch((error: unknown) => deps.log.warn({ err: error }, "new CAs could not be taken up yet"));
  });
  lifecycle.onStop("CAs", unfollow);
}
