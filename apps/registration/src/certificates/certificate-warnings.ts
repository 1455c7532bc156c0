import { type AuthorityName, authorityFiles, planRenewal } from "@keelson/pki";
import { type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import type { ClusterApi } from "../cluster/cluster-api.ts";
import type { ServerPki } from "./server-pki.ts";

const checkPeriodMs = 3_600_000;
/** The same warning is repeated this often: events of the API are forgotten after an hour or a day. */
const repeatMs = 24 * 3_600_000;

/**
 * Says in an event on this server's Node (K3s's reason `CertificateExpirationWarning`) which certificates come to their end:
 * CAs, which nobody replaces without being asked, and leaves that could not be renewed.
 */
export class CertificateWarnings {
  readonly #pki: ServerPki;
  readonly #api: ClusterApi;
  readonly #nodeName: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  #timer: Timer | undefined;
  #told: { text: string; atMs: number } | undefined;

  constructor(pki: ServerPki, api: ClusterApi, nodeName: string, clock: Clock, log: Logger) {
    this.#pki = pki;
    this.#api = api;
    this.#nodeName = nodeName;
    this.#clock = clock;
    this.#log = log;
  }

  start(): void {
    this.#timer = this.#clock.setInterval(() => void this.check(), checkPeriodMs);
    void this.check();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** Looks at all certificates now. Never rejects. */
  async check(): Promise<void> {
    try {
      const nowMs = this.#clock.now();
      const endangered = [...this.#authorities(nowMs), ...(await this.#leaves(nowMs))];
      if (endangered.length === 0) {
        this.#told = undefined;
        return;
      }
      const text = `certificates require attention: ${endangered.join("; ")}`;
      if (this.#told?.text === text && nowMs - this.#told.atMs < repeatMs) return;
      if (this.#told?.text !== text) this.#log.warn({ certificates: endangered }, "certificates come to their end");
      if (await this.#record(text)) this.#told = { text, atMs: nowMs };
    } catch (error) {
      this.#log.warn({ reason: errorMessage(error) }, "certificates could not be checked; trying again in an hour");
    }
  }

  #authorities(nowMs: number): string[] {
    return (Object.keys(authorityFiles) as AuthorityName[]).flatMap((name) => {
      const { certificate } = this.#pki.authority(name);
      const { reason } = planRenewal(certificate, nowMs);
      if (reason === undefined) return [];
      return [
        `${authorityFiles[name].file}: CA ${describe(certificate, nowMs)}, replace it with "keelson certificate rotate-ca"`,
      ];
    });
  }

  /** A running server renews its leaves, so one that is still due could not be renewed. */
  async #leaves(nowMs: number): Promise<string[]> {
    return (await this.#pki.leafStatus(nowMs))
      .filter(({ plan }) => plan.reason === "expiring" || plan.reason === "expired")
      .map((leaf) => `${leaf.certificate.file}: certificate ${describe(leaf, nowMs)} and could not be renewed`);
  }

  /** Whether it was told; a server without a Node has only its log. */
  async #record(message: string): Promise<boolean> {
    if (!this.#api.ready) return false;
    const node = await this.#api.getNode(this.#nodeName);
    if (node === undefined) return false;
    await this.#api.recordEvent({
      node: node.metadata,
      type: "Warning",
      reason: "CertificateExpirationWarning",
      message,
    });
    return true;
  }
}

function describe({ commonName, notAfterMs }: { commonName: string; notAfterMs: number }, nowMs: number): string {
  const when = new Date(notAfterMs).toISOString().slice(0, 10);
  return `CN=${commonName} ${notAfterMs <= nowMs ? "expired on" : "will expire on"} ${when}`;
}
