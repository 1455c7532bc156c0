import { createInformer, type Informer, type KubeClient, type KubeObject, resources } from "@keelson/kube-client";
import { formatAddress, isAddress } from "@keelson/load-balancer";
import { type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import type { SupervisorClient } from "./join/supervisor-client.ts";

interface Endpoints extends KubeObject {
  subsets?: { addresses?: { ip: string }[]; ports?: { port: number }[] }[];
}

/** An API server that joins may appear and vanish a few times: its changes are taken together. */
const debounceMs = 250;
/** Missed events are made up for after this time at the latest. */
const reconcileIntervalMs = 30_000;
const defaultPort = 443;

/**
 * Learns the servers of the cluster from the endpoints of `default/kubernetes`: a watch, and every 30 s a fresh look, so
 * that no missed event leaves the set incomplete.
 */
export class ServerDiscovery {
  readonly #client: KubeClient;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #onServers: (addresses: readonly string[]) => void;
  readonly #informer: Informer<Endpoints>;
  #timers: Timer[] = [];
  #debounce: Timer | undefined;

  constructor(
    client: KubeClient,
    onServers: (addresses: readonly string[]) => void,
    deps: { clock: Clock; log: Logger },
  ) {
    this.#client = client;
    this.#onServers = onServers;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#informer = createInformer<Endpoints>(client, resources.endpoints, {
      namespace: "default",
      fieldSelector: "metadata.name=kubernetes",
      ...deps,
    });
  }

  start(): void {
    this.#informer.onChange(({ object }) => {
      this.#debounce?.cancel();
      this.#debounce = this.#clock.setTimeout(() => this.#publish(object), debounceMs);
    });
    this.#informer.start();
    this.#timers = [this.#clock.setInterval(() => void this.#refresh(), reconcileIntervalMs)];
  }

  stop(): void {
    this.#informer.stop();
    this.#debounce?.cancel();
    for (const timer of this.#timers) timer.cancel();
  }

  async #refresh(): Promise<void> {
    try {
      this.#publish(await this.#client.get<Endpoints>(resources.endpoints, "kubernetes", "default"));
    } catch (error) {
      this.#log.debug({ error: errorMessage(error) }, "the list of servers could not be read");
    }
  }

  #publish(endpoints: Endpoints | undefined): void {
    const addresses = addressesOf(endpoints);
    if (addresses.length > 0) this.#onServers(addresses);
  }
}

/** `host:port` of each API server; the port is the first of its subset. */
export function addressesOf(endpoints: Endpoints | undefined): readonly string[] {
  const all = (endpoints?.subsets ?? []).flatMap(({ addresses, ports }) =>
    (addresses ?? []).map(({ ip }) => formatAddress(ip, ports?.[0]?.port ?? defaultPort)),
  );
  return [...new Set(all)].sort();
}

/** The servers as the supervisor knows them; an empty list when it has none or no route for it. Never rejects. */
export async function askForServers(client: SupervisorClient, log: Logger): Promise<readonly string[]> {
  try {
    const { status, body } = await client.send({ path: "/v1-k3s/apiservers" });
    return status === 200 ? parseApiServers(body) : [];
  } catch (error) {
    log.debug({ error: errorMessage(error) }, "the server has no list of servers; its endpoints will tell");
    return [];
  }
}

/** The answer of `/v1-k3s/apiservers`: `host:port` strings. Anything else reads as an old server without that route. */
export function parseApiServers(body: Buffer): readonly string[] {
  try {
    const list: unknown = JSON.parse(body.toString("utf8"));
    if (!Array.isArray(list)) return [];
    return list.filter((entry): entry is string => typeof entry === "string" && isAddress(entry));
  } catch {
    return [];
  }
}
