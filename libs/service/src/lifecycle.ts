import type { Logger } from "./logger.ts";

/** A part that can be started and stopped. `stop` is safe to call twice and after a failed `start`. */
export interface Service {
  start(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts services in the given order and stops them in reverse. When one fails to start, those already running are
 * stopped before the error is thrown; a failing stop is logged and does not keep the others from stopping.
 */
export class Lifecycle implements Service {
  readonly #log: Logger;
  readonly #running: { name: string; service: Service }[] = [];

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Starts one more service; it will be stopped before all that were started earlier. */
  async run<S extends Service>(name: string, service: S): Promise<S> {
    this.#running.push({ name, service });
    try {
      await service.start();
    } catch (error) {
      await this.stop();
      throw error;
    }
    return service;
  }

  /** Registers something that needs only stopping. */
  onStop(name: string, stop: () => Promise<void> | void): void {
    this.#running.push({ name, service: { start: async () => {}, stop: async () => stop() } });
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {
    for (;;) {
      const last = this.#running.pop();
      if (last === undefined) return;
      try {
        await last.service.stop();
      } catch (error) {
        this.#log.error({ err: error, service: last.name }, "service failed to stop");
      }
    }
  }
}

/** A service made of others: `compose` starts them on the lifecycle it is given, which also stops them. */
export function composeService(log: Logger, compose: (lifecycle: Lifecycle) => Promise<void>): Service {
  const lifecycle = new Lifecycle(log);
  return { start: () => compose(lifecycle), stop: () => lifecycle.stop() };
}
