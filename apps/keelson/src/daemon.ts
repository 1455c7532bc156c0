import {
  createLogger,
  createRegistry,
  type Dependencies,
  defineOptions,
  errorMessage,
  type OptionValues,
  type Service,
  systemClock,
} from "@keelson/service";

/** Options that every long-running command has. */
export const daemonOptions = defineOptions({
  "log-level": {
    type: "string",
    default: "info",
    oneOf: ["debug", "info", "warn", "error"],
    placeholder: "level",
    help: "debug, info, warn or error",
  },
  "log-format": {
    type: "string",
    default: "plain",
    oneOf: ["plain", "json"],
    env: "KEELSON_LOG_FORMAT",
    placeholder: "format",
    help: "plain or json",
  },
  debug: { type: "boolean", env: "K3S_DEBUG", help: "Same as --log-level=debug" },
});

type DaemonValues = OptionValues<typeof daemonOptions>;

/** How long a stop may take before the process ends anyway. */
const stopTimeoutMs = 15_000;

/**
 * Runs a service until SIGINT or SIGTERM, then stops it in order; a second signal ends the process at once. A parent
 * that started it over IPC (`keelson dev`) and vanished counts as a signal, so that no orphan stays. Process metrics are
 * left out where nothing serves them.
 */
export async function runDaemon(
  name: string,
  values: DaemonValues,
  create: (deps: Dependencies) => Promise<Service> | Service,
  options: { processMetrics?: boolean } = {},
): Promise<number> {
  const log = createLogger({
    name,
    level: values.debug ? "debug" : values["log-level"],
    format: values["log-format"],
  });
  const deps: Dependencies = {
    log,
    clock: systemClock,
    registry: createRegistry({ defaultMetrics: options.processMetrics ?? true }),
  };
  const ended = endSignal();
  process.on("unhandledRejection", (reason) => {
    // A bug, never an expected failure: going on would mean running in a state that nobody thought of.
    log.fatal({ err: reason }, "unhandled rejection");
    process.exit(70);
  });
  const service = await create(deps);
  try {
    await Promise.race([service.start(), ended.then((reason) => Promise.reject(new StoppedWhileStarting(reason)))]);
  } catch (error) {
    await service.stop();
    if (error instanceof StoppedWhileStarting) return 0;
    throw error;
  }
  log.info("started");
  const reason = await ended;
  log.info({ reason }, "stopping");
  const timer = setTimeout(() => {
    log.error({ stopTimeoutMs }, "stop took too long, ending now");
    process.exit(1);
  }, stopTimeoutMs);
  try {
    await service.stop();
  } catch (error) {
    log.error({ error: errorMessage(error) }, "stop failed");
    return 1;
  } finally {
    clearTimeout(timer);
  }
  // Libraries may keep idle sockets; the service says it is done, so the process is.
  setImmediate(() => process.exit());
  return 0;
}

class StoppedWhileStarting extends Error {}

function endSignal(): Promise<string> {
  return new Promise((resolve) => {
    let count = 0;
    const onEnd = (reason: string): void => {
      if (++count > 1) process.exit(130);
      resolve(reason);
    };
    process.on("SIGINT", () => onEnd("SIGINT"));
    process.on("SIGTERM", () => onEnd("SIGTERM"));
    if (process.send !== undefined) process.on("disconnect", () => onEnd("parent gone"));
  });
}
