import {
  isAlreadyExists,
  isConflict,
  isNotFound,
  type KubeClient,
  type KubeObject,
  resources,
} from "@keelson/kube-client";
import { planRenewal, readCertificate } from "@keelson/pki";
import { type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import { parseListenerFile } from "./certificate-file.ts";

const retryMs = 30_000;
const staticAnnotation = "listener.cattle.io/static";

/**
 * Shows the listener certificate in Secret `kube-system/k3s-serving`, as K3s does. Servers share the Secret: one that is
 * good for every name of ours stays as it is, so that two servers never take turns in it. What it shows may lag behind;
 * nothing waits for it.
 */
export class ListenerSecret {
  readonly #client: KubeClient;
  readonly #clock: Clock;
  readonly #log: Logger;
  #wanted: string | undefined;
  #isRunning = false;
  #retry: Timer | undefined;

  constructor(client: KubeClient, deps: { clock: Clock; log: Logger }) {
    this.#client = client;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /** Shows this certificate (the Secret's JSON, as in `dynamic-cert.json`) as soon as the API takes it. */
  show(secretJson: string): void {
    this.#wanted = secretJson;
    void this.#run();
  }

  stop(): void {
    this.#wanted = undefined;
    this.#retry?.cancel();
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#retry?.cancel();
    try {
      while (this.#wanted !== undefined) {
        const shown = this.#wanted;
        await this.#write(shown);
        if (this.#wanted === shown) this.#wanted = undefined;
      }
    } catch (error) {
      const reason = errorMessage(error);
      this.#log.debug({ reason }, "the Secret of the listener certificate is written when the API answers");
      this.#retry = this.#clock.setTimeout(() => void this.#run(), retryMs);
    } finally {
      this.#isRunning = false;
    }
  }

  async #write(secretJson: string): Promise<void> {
    const wanted = JSON.parse(secretJson) as KubeObject;
    const { name, namespace } = wanted.metadata;
    try {
      const present = await this.#client.get<KubeObject>(resources.secrets, name, namespace);
      if (present.metadata.annotations?.[staticAnnotation] === "true") return;
      if (isGoodFor(JSON.stringify(present), secretJson, this.#clock.now())) return;
      await this.#client.update(resources.secrets, {
        ...wanted,
        metadata: { ...present.metadata, ...wanted.metadata },
      });
    } catch (error) {
      // Changed or gone in between by another server: it is looked at again.
      if (isConflict(error)) return this.#write(secretJson);
      if (!isNotFound(error)) throw error;
      await this.#create(wanted, secretJson);
    }
  }

  async #create(wanted: KubeObject, secretJson: string): Promise<void> {
    try {
      await this.#client.create(resources.secrets, wanted);
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      await this.#write(secretJson);
    }
  }
}

/** Whether the certificate that is there has every name of the wanted one, the same CA, and time left. */
function isGoodFor(presentJson: string, wantedJson: string, nowMs: number): boolean {
  const [present, wanted] = [parseListenerFile(presentJson), parseListenerFile(wantedJson)];
  if (present === undefined || wanted === undefined) return false;
  try {
    const isFresh = planRenewal(readCertificate(present.chainPem), nowMs).reason === undefined;
    const names = new Set(present.names);
    return (
      isFresh &&
      issuersOf(present.chainPem) === issuersOf(wanted.chainPem) &&
      wanted.names.every((name) => names.has(name))
    );
  } catch {
    return false; // what is there is no certificate
  }
}

/** The chain without its leaf. */
function issuersOf(chainPem: string): string {
  const end = "-----END CERTIFICATE-----";
  return chainPem.slice(chainPem.indexOf(end) + end.length).trim();
}
