import type { KeyObject } from "node:crypto";
import { join } from "node:path";
import {
  createCertificateRequest,
  exportPrivateKey,
  generateEcKey,
  importPrivateKey,
  planRenewal,
  readCertificate,
} from "@keelson/pki";
import { hashCaBundle, parseToken } from "@keelson/secret-format";
import {
  type Clock,
  errorMessage,
  KeelsonError,
  type Logger,
  readFileIfExists,
  type Service,
  type Timer,
  writeFileAtomic,
} from "@keelson/service";
import { waitFor } from "../bootstrap/patience.ts";
import { record, text } from "./calls.ts";
import { componentBundles, componentCertificates, registrationClientFile } from "./component-certificates.ts";
import { postMessage } from "./http-client.ts";
import { basicAuthorization, downloadCa } from "./https-call.ts";
import { bundlesPath, type ComponentName, enrolPath } from "./wire.ts";

export interface ComponentIdentityOptions {
  component: ComponentName;
  /** `https://host:port` of registration's internal API. */
  url: string;
  /** Full server token, `K10<hash>::server:<password>`: the hash pins the CA. Needed until the first enrolment. */
  token?: string;
  /** Name of this instance, and the DNS names and addresses that its serving certificates carry. */
  name: string;
  names: readonly string[];
  /** Where key, certificates and CA bundles are kept. */
  directory: string;
}

/** How soon new CAs are taken up, and certificates renewed that are due. */
const checkPeriodMs = 5_000;
/** How often it is said that certificates cannot be renewed. */
const complaintPeriodMs = 3_600_000;

/**
 * The identity of a part that runs apart from registration: enrolled once with the server token and the CA it pins, kept in
 * a folder, renewed with its own certificate before it ends, or when the cluster's CAs are replaced.
 */
export class ComponentIdentity implements Service {
  readonly #options: ComponentIdentityOptions;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #listeners = new Set<() => void>();
  #pem = new Map<string, string>();
  /** Ends what still waits for registration when this part is stopped. */
  readonly #stopped = new AbortController();
  #timer: Timer | undefined;
  #complainedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: ComponentIdentityOptions, clock: Clock, log: Logger) {
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
  }

  /** Loads the identity, enrols where there is none (as soon as registration is there), and keeps it fresh. */
  async start(): Promise<void> {
    await this.#load();
    if (!this.#isFresh()) {
      const patience = { log: this.#log, signal: this.#stopped.signal };
      await waitFor(`registration at ${this.#options.url}`, () => this.#enrol(), patience);
    }
    this.#checkLater();
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new KeelsonError("component/stopped", "this part was stopped"));
    this.#timer?.cancel();
  }

  /** A certificate of this component with its key, by file name (see componentCertificates). */
  certificate(file: string): { cert: string; key: string } {
    return { cert: this.#get(`${file}.crt`), key: this.#get("component.key") };
  }

  /** A CA bundle: `server-ca`, `client-ca`, `request-header-ca` or `etcd-server-ca`. */
  bundle(file: string): string {
    return this.#get(`${file}.crt`);
  }

  /** The key of service-account tokens; for kube-api only. */
  get serviceKeyPem(): string {
    return this.#get("service.key");
  }

  /** TLS options of calls to registration. */
  get registrationTls(): { ca: string; cert: string; key: string } {
    return { ca: this.bundle("server-ca"), ...this.certificate(registrationClientFile) };
  }

  /** TLS options with a certificate of this component and the server CA, whose fields are always those of today. */
  liveTls(file: string): { readonly ca: string; readonly cert: string; readonly key: string } {
    const ca = (): string => this.bundle("server-ca");
    const pair = (): { cert: string; key: string } => this.certificate(file);
    return {
      get ca() {
        return ca();
      },
      get cert() {
        return pair().cert;
      },
      get key() {
        return pair().key;
      },
    };
  }

  /** Calls back after each renewal; the returned function ends it. */
  onRenewed(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #get(file: string): string {
    const pem = this.#pem.get(file);
    if (pem === undefined) throw new KeelsonError("component/not-enrolled", `${file} is not there before enrolment`);
    return pem;
  }

  get #files(): string[] {
    return [
      ...componentCertificates[this.#options.component].map(({ file }) => `${file}.crt`),
      ...componentBundles.map(({ file }) => `${file}.crt`),
      "component.key",
      ...(this.#options.component === "kube-api" ? ["service.key"] : []),
    ];
  }

  async #load(): Promise<void> {
    for (const file of this.#files) {
      const pem = await readFileIfExists(join(this.#options.directory, file));
      if (pem !== undefined) this.#pem.set(file, pem);
    }
  }

  #isFresh(): boolean {
    if (!this.#files.every((file) => this.#pem.has(file))) return false;
    return componentCertificates[this.#options.component].every(
      ({ file }) =>
        planRenewal(readCertificate(this.#get(`${file}.crt`)), this.#clock.now()).renewAtMs > this.#clock.now(),
    );
  }

  #checkLater(): void {
    if (this.#stopped.signal.aborted) return;
    this.#timer = this.#clock.setTimeout(() => {
      void this.#check().finally(() => this.#checkLater());
    }, checkPeriodMs);
  }

  /** Enrols again when a certificate is due, or when the cluster's CAs are no longer those that we hold. Never fails. */
  async #check(): Promise<void> {
    const fresh = this.#isFresh();
    try {
      if (fresh && (await this.#hasCasOfToday())) return;
      await this.#enrol();
      for (const listener of this.#listeners) listener();
    } catch (error) {
      this.#complain(fresh, errorMessage(error));
    }
  }

  async #hasCasOfToday(): Promise<boolean> {
    const { url } = this.#options;
    const answer = await postMessage({ url, path: bundlesPath, message: {}, ...(await this.#credentials()) });
    const bundles = record(answer);
    return componentBundles.every(({ file }) => bundles[file] === this.bundle(file));
  }

  /** Registration may be away for as long as our certificates hold. */
  #complain(fresh: boolean, reason: string): void {
    const nowMs = this.#clock.now();
    if (fresh) {
      this.#log.debug({ reason }, "CAs could not be compared with registration's");
    } else if (nowMs - this.#complainedAtMs >= complaintPeriodMs) {
      this.#complainedAtMs = nowMs;
      this.#log.error({ reason }, "this component's certificates could not be renewed; trying again every few seconds");
    }
  }

  async #enrol(): Promise<void> {
    const { component, url, name, names } = this.#options;
    const keyPem = this.#pem.get("component.key");
    const key: KeyObject = keyPem === undefined ? await generateEcKey() : importPrivateKey(keyPem);
    const credentials = await this.#credentials();
    const csrDer = createCertificateRequest(key);
    const answer = record(
      await postMessage({ url, path: enrolPath, message: { component, name, names, csrDer }, ...credentials }),
    );
    const received = new Map<string, string>([["component.key", exportPrivateKey(key)]]);
    for (const group of [answer.certificates, answer.bundles]) {
      for (const [file, pem] of Object.entries(record(group))) received.set(`${file}.crt`, text(pem, file));
    }
    if (answer.serviceKeyPem !== undefined) received.set("service.key", text(answer.serviceKeyPem, "serviceKeyPem"));
    const missing = this.#files.find((file) => !received.has(file));
    if (missing !== undefined) throw new KeelsonError("component/incomplete", `registration did not send ${missing}`);
    for (const file of this.#files) {
      const mode = file.endsWith(".key") ? 0o600 : 0o644;
      await writeFileAtomic(join(this.#options.directory, file), received.get(file)!, mode);
    }
    this.#pem = received;
    this.#log.info({ part: component, name }, "enrolled with registration");
  }

  /** The certificate as long as it is valid, else the token. */
  async #credentials(): Promise<{ ca: string; cert?: string; key?: string; authorization?: string }> {
    const cert = this.#pem.get(`${registrationClientFile}.crt`);
    const known = this.#pem.get("server-ca.crt");
    if (cert !== undefined && known !== undefined && readCertificate(cert).notAfterMs > this.#clock.now()) {
      return { ca: known, cert, key: this.#get("component.key") };
    }
    const { token, url } = this.#options;
    if (token === undefined) {
      throw new KeelsonError("component/token-required", "the server token is needed to enrol with registration", {
        hint: "give --token with the content of server/token",
      });
    }
    const { caHash, password } = parseToken(token);
    if (caHash === undefined || caHash === "") {
      throw new KeelsonError("component/pin-required", "the token has no CA hash, so registration cannot be verified", {
        hint: "give the full token, K10<hash>::server:<password>, as in server/token",
      });
    }
    const ca = await downloadCa(url);
    const actual = hashCaBundle(ca);
    if (actual !== caHash.toLowerCase()) {
      throw new KeelsonError(
        "token/ca-mismatch",
        `token CA hash does not match the Cluster CA certificate hash: ${caHash} != ${actual}`,
        { hint: "the address belongs to another cluster, or someone is between" },
      );
    }
    return { ca, authorization: basicAuthorization("server", password) };
  }
}
