import {
  composeService,
  type Dependencies,
  type Health,
  OpsListener,
  parseListenAddress,
  type Service,
} from "@keelson/service";

/** A service with the health checks and metrics of its process beside it, where `--ops-listen` names an address for them. */
export function withOps(service: Service, listen: string | undefined, health: Health, deps: Dependencies): Service {
  if (listen === undefined) return service;
  const address = parseListenAddress("ops-listen", listen);
  return composeService(deps.log, async (lifecycle) => {
    // First of all, so that it also tells of a start that takes long.
    await lifecycle.run("ops listener", new OpsListener(address, health, deps.registry, deps.log));
    await lifecycle.run("service", service);
  });
}
