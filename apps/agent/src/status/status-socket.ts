import { chmod, rm } from "node:fs/promises";
import type { Server } from "node:http";
import { http, type Logger, type Registry, type Service } from "@keelson/service";
import type { AgentStatus } from "./status.ts";

/** The longest path a Unix socket may have. */
const maxSocketPath = 107;

/** Serves the agent's status as JSON and its metrics on a Unix socket that only its own user may open. */
export class StatusSocket implements Service {
  readonly #path: string;
  readonly #status: () => AgentStatus;
  readonly #registry: Registry;
  readonly #log: Logger;
  #server: Server | undefined;

  constructor(path: string, status: () => AgentStatus, deps: { registry: Registry; log: Logger }) {
    this.#path = path;
    this.#status = status;
    this.#registry = deps.registry;
    this.#log = deps.log;
  }

  async start(): Promise<void> {
    if (Buffer.byteLength(this.#path) > maxSocketPath) {
      this.#log.warn({ path: this.#path }, "path is too long for a socket: keelson status will not find this agent");
      return;
    }
    await rm(this.#path, { force: true });
    const server = http.createServer((req, res) => {
      if (req.url === "/status") {
        res.writeHead(200, { "content-type": "application/json" }).end(`${JSON.stringify(this.#status())}\n`);
      } else if (req.url === "/metrics") {
        this.#registry.metrics().then(
          (text) => res.writeHead(200, { "content-type": this.#registry.contentType }).end(text),
          () => res.writeHead(500).end(),
        );
      } else {
        res.writeHead(404).end();
      }
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#path, resolve);
    });
    await chmod(this.#path, 0o600);
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }
}
