import type { Core } from "../core.ts";
import type { Method } from "../server/rpc.ts";
import { Alarms } from "./alarms.ts";
import { authOffService } from "./auth-off.ts";
import { clusterService } from "./cluster.ts";
import { electionService } from "./election.ts";
import { hashService } from "./hash.ts";
import { healthService } from "./health.ts";
import { kvService } from "./kv.ts";
import { leaseService } from "./lease.ts";
import { lockService } from "./lock.ts";
import { maintenanceService } from "./maintenance.ts";
import { rangeStreamMethod } from "./range-stream.ts";
import { reflectionMethods } from "./reflection.ts";
import { snapshotMethod } from "./snapshot.ts";
import { watchService } from "./watch.ts";

/** All methods of an etcd on this core. */
export function etcdMethods(core: Core): { methods: Method[]; alarms: Alarms } {
  const alarms = new Alarms(core);
  const methods: Method[] = [
    ...kvService(core, alarms),
    ...watchService(core),
    ...leaseService(core, alarms),
    ...clusterService(core),
    rangeStreamMethod(core),
    ...maintenanceService(core, alarms),
    ...hashService(core),
    snapshotMethod(core),
    ...authOffService(core),
    ...lockService(core, alarms),
    ...electionService(core, alarms),
  ];
  const names = new Set(methods.map(({ path }) => path.split("/")[1]!));
  const health = healthService(names, {
    serving: () => core.queue.failure === undefined,
    onChange: (listener) => core.queue.onHealthChange(listener),
  });
  methods.push(...health, ...reflectionMethods([...names, "grpc.health.v1.Health"]));
  return { methods, alarms };
}
