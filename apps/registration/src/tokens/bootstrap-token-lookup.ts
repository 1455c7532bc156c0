import { type BootstrapToken, bootstrapTokenSecretName, parseBootstrapTokenSecret } from "@keelson/secret-format";
import { errorMessage, type Logger } from "@keelson/service";
import type { ClusterApi } from "../cluster/cluster-api.ts";

/** Different ids that are looked up at once. Those that the watched copy knows take no time; only the others count. */
const maxLookups = 8;

/**
 * Finds the bootstrap token that a caller claims to hold. Nobody has proven anything yet, and an id that the watched copy does
 * not have costs a question to the API: callers with the same id share one, and of different ids only a few are asked for at
 * once.
 */
export class BootstrapTokenLookup {
  readonly #api: ClusterApi;
  readonly #log: Logger;
  readonly #running = new Map<string, Promise<BootstrapToken | undefined>>();

  constructor(api: ClusterApi, log: Logger) {
    this.#api = api;
    this.#log = log;
  }

  /** The stored token; undefined when there is none, or when the API cannot be asked (now). */
  async find(id: string): Promise<BootstrapToken | undefined> {
    const known = this.#api.knownSecret(bootstrapTokenSecretName(id));
    if (known !== undefined) return parseBootstrapTokenSecret(known);
    const running = this.#running.get(id);
    if (running !== undefined) return running;
    if (this.#running.size >= maxLookups) return undefined;
    const lookup = this.#read(id).finally(() => this.#running.delete(id));
    this.#running.set(id, lookup);
    return lookup;
  }

  async #read(id: string): Promise<BootstrapToken | undefined> {
    try {
      const secret = await this.#api.getSecret(bootstrapTokenSecretName(id));
      return secret === undefined ? undefined : parseBootstrapTokenSecret(secret);
    } catch (error) {
      this.#log.warn({ reason: errorMessage(error) }, "bootstrap tokens cannot be checked while the API is away");
      return undefined;
    }
  }
}
