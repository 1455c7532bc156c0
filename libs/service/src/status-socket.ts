import { chmod, rm, utimes } from "node:fs/promises";
import type { Server, ServerResponse } from "node:http";
import type { Clock, Timer } from "./clock.ts";
import { errorMessage } from "./errors.ts";
import { http } from "./http.ts";
import type { Service } from "./lifecycle.ts";
import type { Logger } from "./logger.ts";
import type { Registry } from "./metrics.ts";

/** The longest path a Unix socket may have. */
const maxSocketPath = 107;
/** How often the socket's modification time is renewed: it tells when a process that is gone was last alive. */
export const statusHeartbeatMs = 2_000;

/**
 * Serves a daemon's status as JSON (`/status`) and its metrics (`/metrics`) on a Unix socket that only its own user may
 * open. The socket stays behind when the process is killed; its modification time then is the last sign of life.
 */
export class StatusSocket implements Service {
  readonly #path: string;
  readonly #status: () => unknown;
  readonly #registry: Registry;
  readonly #clock: Clock;
  readonly #log: Logger;
  #server: Server | undefined;
  #heartbeat: Timer | undefined;

  /** `status` is asked at each request; it may answer with a promise. */
  constructor(path: string, status: () => unknown, deps: { registry: Registry; clock: Clock; log: Logger }) {
    this.#path = path;
    this.#status = status;
    this.#registry = deps.registry;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  async start(): Promise<void> {
    if (Buffer.byteLength(this.#path) > maxSocketPath) {
      this.#log.warn({ path: this.#path }, "path is too long for a socket: keelson status will not find this process");
      return;
    }
    await rm(this.#path, { force: true });
    const server = http.createServer((req, res) => void this.#answer(req.url, res));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#path, resolve);
    });
    await chmod(this.#path, 0o600);
    this.#server = server;
    this.#heartbeat = this.#clock.setInterval(() => {
      const now = this.#clock.now() / 1_000;
      utimes(this.#path, now, now).catch(() => {}); // the sign of life of one period is lost, nothing else
    }, statusHeartbeatMs);
  }

  /** An orderly stop takes the socket away: nobody looks for a process that was told to end. */
  async stop(): Promise<void> {
    this.#heartbeat?.cancel();
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  async #answer(url: string | undefined, res: ServerResponse): Promise<void> {
    try {
      if (url === "/status") {
        const text = `${JSON.stringify(await this.#status())}\n`;
        res.writeHead(200, { "content-type": "application/json" }).end(text);
      } else if (url === "/metrics") {
        const text = await this.#registry.metrics();
        res.writeHead(200, { "content-type": this.#registry.contentType }).end(text);
      } else {
        res.writeHead(404).end();
      }
    } catch (error) {
      this.#log.warn({ error: errorMessage(error) }, "status could not be told");
      if (!res.headersSent) res.writeHead(500);
      res.end();
    }
  }
}
