import type { Core } from "../core.ts";
import type { Method } from "../server/rpc.ts";
import { Alarms } from "./alarms.ts";
import { clusterService } from "./cluster.ts";
import { healthService } from "./health.ts";
import { kvService } from "./kv.ts";
import { leaseService } from "./lease.ts";
import { maintenanceService } from "./maintenance.ts";
import { watchService } from "./watch.ts";

/** All methods of an etcd on this core. */
export function etcdMethods(core: Core): Method[] {
  const alarms = new Alarms(core);
  const methods: Method[] = [
    ...kvService(core, alarms),
    ...watchService(core),
    ...leaseService(core, alarms),
    ...clusterService(core),
    ...maintenanceService(core, alarms),
  ];
  const names = new Set(methods.map(({ path }) => path.split("/")[1]!));
  return [
    ...methods,
    ...healthService(names, { serving: () => core.queue.failure === undefined, onChange: () => () => {} }),
  ];
}
