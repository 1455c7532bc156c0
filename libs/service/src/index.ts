export { Backoff, type BackoffOptions } from "./backoff.ts";
export { type ChildExit, type ChildProcessOptions, type ChildState, SupervisedChild } from "./child-process.ts";
export { type Clock, ManualClock, sleep, systemClock, type Timer } from "./clock.ts";
export { argumentValue, componentArguments } from "./component-arguments.ts";
export { dataDirOption } from "./data-dir.ts";
export { type Dependencies, withDefaults } from "./dependencies.ts";
export { errorCode, errorMessage, KeelsonError } from "./errors.ts";
export { readFileIfExists, writeFileAtomic } from "./files.ts";
export { Health, type HealthCheck, type HealthEndpoint, type HealthReport } from "./health.ts";
export { http } from "./http.ts";
export { composeService, Lifecycle, type Service } from "./lifecycle.ts";
export { type ListenAddress, opsListenOption, parseListenAddress } from "./listen-address.ts";
export {
  createLogger,
  formatPlain,
  type LogFormat,
  type Logger,
  type LoggerOptions,
  type LogLevel,
  silentLogger,
} from "./logger.ts";
export { Counter, createRegistry, Gauge, Histogram, Registry } from "./metrics.ts";
export { OpsListener } from "./ops-listener.ts";
export {
  defineOptions,
  type OptionSpec,
  type OptionSpecs,
  type OptionValues,
  optionsFromEnvironment,
  parseDuration,
  type RawOptions,
  resolveOptions,
} from "./options.ts";
export { folderOwnership, Ownership } from "./ownership.ts";
export { type Problem, sinceAgo } from "./problem.ts";
export { Rounds, type RoundsOptions } from "./rounds.ts";
export { StatusSocket, statusHeartbeatMs } from "./status-socket.ts";
