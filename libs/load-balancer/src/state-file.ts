import { type Logger, readFileIfExists, writeFileAtomic } from "@keelson/service";
import { isAddress } from "./address.ts";

/** What the balancer remembers across restarts; K3s's file, so that either reads the other's. */
interface StateDocument {
  ServerURL: string;
  ServerAddresses: string[];
}

/** `<dataDir>/agent/etc/<name>.json`: the servers an agent knew last, in case the registration address is gone. */
export class StateFile {
  readonly #path: string;
  readonly #serverUrl: string;
  readonly #log: Logger;
  #writing: Promise<void> = Promise.resolve();

  /** `serverUrl` is what the user configured; a file made for another one is not used. */
  constructor(path: string, serverUrl: string, log: Logger) {
    this.#path = path;
    this.#serverUrl = serverUrl;
    this.#log = log;
  }

  async read(): Promise<readonly string[]> {
    const text = await readFileIfExists(this.#path);
    if (text === undefined) return [];
    try {
      const document = JSON.parse(text) as Partial<StateDocument>;
      const addresses = document.ServerAddresses;
      if (document.ServerURL !== this.#serverUrl || !Array.isArray(addresses)) return [];
      return addresses.filter((address) => typeof address === "string" && isAddress(address));
    } catch {
      this.#log.warn({ path: this.#path }, "the remembered server list cannot be read and is started anew");
      return [];
    }
  }

  /** Writes in the background, one write after another; a failure only costs the memory. */
  write(addresses: readonly string[]): void {
    const document: StateDocument = { ServerURL: this.#serverUrl, ServerAddresses: [...addresses] };
    this.#writing = this.#writing
      .then(() => writeFileAtomic(this.#path, JSON.stringify(document, null, 2), 0o644))
      .catch((error: unknown) => this.#log.warn({ err: error, path: this.#path }, "server list could not be saved"));
  }

  /** Resolves when everything given to `write` is on disk. */
  flushed(): Promise<void> {
    return this.#writing;
  }
}
