import { type Clock, errorMessage, type Logger, Rounds, type Service } from "@keelson/service";
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
  readonly #log: Logger;
  readonly #rounds: Rounds;
  #hasFailed = false;

  constructor(servers: LiveServers, writer: EndpointsWriter, { clock, log }: { clock: Clock; log: Logger }) {
    this.#servers = servers;
    this.#writer = writer;
    this.#log = log;
    this.#rounds = new Rounds(() => this.#reconcile(), {
      clock,
      periodMs: reconcileIntervalMs,
      onError: (error) => {
        if (!this.#hasFailed) log.warn({ error: errorMessage(error) }, "API endpoints could not be updated");
        this.#hasFailed = true;
      },
    });
  }

  async start(): Promise<void> {
    await this.#rounds.now();
    this.#rounds.start();
  }

  /** A server that stops in order leaves the endpoints at once, instead of when its lease ends. */
  async stop(): Promise<void> {
    await this.#rounds.stop();
    try {
      if (await this.#servers.leave()) await this.#publish();
    } catch (error) {
      this.#log.debug(
        { error: errorMessage(error) },
        "could not leave the API endpoints; the lease will end by itself",
      );
    }
  }

  async #reconcile(): Promise<void> {
    await this.#servers.renew();
    await this.#publish();
    if (this.#hasFailed) this.#log.info("API endpoints are up to date again");
    this.#hasFailed = false;
  }

  async #publish(): Promise<void> {
    await this.#writer.write(await this.#servers.list());
  }
}
