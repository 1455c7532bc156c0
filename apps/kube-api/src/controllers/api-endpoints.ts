import { type Clock, errorMessage, type Logger, type Service, type Timer } from "@keelson/service";
import type { Advertised, LiveServers } from "./live-servers.ts";

/** Where the endpoints of `default/kubernetes` are written. */
export interface EndpointsWriter {
  write(servers: readonly Advertised[]): Promise<void>;
}

/** Renewed often, so that a server that dies is out of the endpoints within about 10 s, and a new one in at once. */
const reconcileIntervalMs = 3_000;

/** Keeps the endpoints of `default/kubernetes` at the servers that are alive, this one among them while it runs. */
export class ApiEndpoints implements Service {
  readonly #servers: LiveServers;
  readonly #writer: EndpointsWriter;
  readonly #clock: Clock;
  readonly #log: Logger;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #hasFailed = false;

  constructor(servers: LiveServers, writer: EndpointsWriter, { clock, log }: { clock: Clock; log: Logger }) {
    this.#servers = servers;
    this.#writer = writer;
    this.#clock = clock;
    this.#log = log;
  }

  async start(): Promise<void> {
    await this.#tick();
    this.#timer = this.#clock.setInterval(() => void this.#tick(), reconcileIntervalMs);
  }

  /** A server that stops in order leaves the endpoints at once, instead of when its lease ends. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#running;
    try {
      if (await this.#servers.leave()) await this.#publish();
    } catch (error) {
      this.#log.debug(
        { error: errorMessage(error) },
        "could not leave the API endpoints; the lease will end by itself",
      );
    }
  }

  async #tick(): Promise<void> {
    if (this.#running !== undefined) return;
    this.#running = this.#reconcile()
      .then(() => {
        if (this.#hasFailed) this.#log.info("API endpoints are up to date again");
        this.#hasFailed = false;
      })
      .catch((error: unknown) => {
        if (!this.#hasFailed) this.#log.warn({ error: errorMessage(error) }, "API endpoints could not be updated");
        this.#hasFailed = true;
      })
      .finally(() => {
        this.#running = undefined;
      });
    await this.#running;
  }

  async #reconcile(): Promise<void> {
    await this.#servers.renew();
    await this.#publish();
  }

  async #publish(): Promise<void> {
    await this.#writer.write(await this.#servers.list());
  }
}
