import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { errorMessage, type Health, type Logger, type Registry, type Service } from "@keelson/service";

/** Plain HTTP for operators: `/livez`, `/readyz`, `/healthz` of this process and `/metrics`. */
export class OpsListener implements Service {
  readonly #listen: { host: string; port: number };
  readonly #server;

  constructor(listen: { host: string; port: number }, health: Health, registry: Registry, log: Logger) {
    this.#listen = listen;
    this.#server = createServer((req, res) => {
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
