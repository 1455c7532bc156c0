import type { AddressInfo } from "node:net";
import { errorMessage } from "./errors.ts";
import type { Health } from "./health.ts";
import { http } from "./http.ts";
import type { Service } from "./lifecycle.ts";
import type { ListenAddress } from "./listen-address.ts";
import type { Logger } from "./logger.ts";
import type { Registry } from "./metrics.ts";

/** Plain HTTP for operators: `/livez`, `/readyz`, `/healthz` of this process and `/metrics`. */
export class OpsListener implements Service {
  readonly #listen: ListenAddress;
  readonly #server;

  constructor(listen: ListenAddress, health: Health, registry: Registry, log: Logger) {
    this.#listen = listen;
    this.#server = http.createServer((req, res) => {
      this.#answer(req.url ?? "/", health, registry).then(
        ({ status, contentType, body }) => res.writeHead(status, { "Content-Type": contentType }).end(body),
        (error: unknown) => {
          log.error({ err: error }, "ops request failed");
          res.writeHead(500, { "Content-Type": "text/plain" }).end(errorMessage(error));
        },
      );
    });
  }

  get address(): AddressInfo {
    return this.#server.address() as AddressInfo;
  }

  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#listen.port, this.#listen.host, () => resolve());
    });
  }

  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  async #answer(url: string, health: Health, registry: Registry) {
    if (url === "/metrics") {
      return { status: 200, contentType: registry.contentType, body: await registry.metrics() };
    }
    const report = await health.handle(url);
    if (report === undefined) return { status: 404, contentType: "text/plain", body: "404 page not found\n" };
    return { status: report.status, contentType: "text/plain", body: report.body };
  }
}
