import { availableParallelism } from "node:os";
import { uniqueNames } from "@keelson/pki";
import {
  type Answer,
  type Authentication,
  accepted,
  type CaBundles,
  type CertificateRequest,
  type Credentials,
  type ListenerCertificate,
  type ListenerRequest,
  type RegistrationClient,
  refused,
  type ServerConfig,
} from "@keelson/protocol/supervisor";
import {
  type BootstrapToken,
  bootstrapTokenSecretName,
  formatBootstrapData,
  parseBootstrapTokenSecret,
} from "@keelson/secret-format";
import { errorMessage, Gauge, KeelsonError, type Service, type Timer } from "@keelson/service";
import { AgentCertificates } from "./agent-certificates.ts";
import { InternalApi } from "./api/internal-api.ts";
import { Authenticator } from "./authenticator.ts";
import { readBootstrapFiles } from "./bootstrap-files.ts";
import { replaceAuthorities } from "./ca-rotation.ts";
import type { ClusterApi } from "./cluster-api.ts";
import { ClusterBootstrap } from "./cluster-bootstrap.ts";
import { leafLifetime, type RegistrationConfig, type RegistrationDependencies, serverNames } from "./config.ts";
import { CredentialStore } from "./credentials.ts";
import { DeferredChecks } from "./deferred-checks.ts";
import { Housekeeping } from "./housekeeping.ts";
import { embeddedKubeconfig } from "./kubeconfig.ts";
import { ListenerCertificates } from "./listener-certificates.ts";
import { NodePasswords } from "./node-passwords.ts";
import { takeRotationRequest } from "./rotation-request.ts";
import { ServerIdentity } from "./server-identity.ts";
import type { ServerPaths } from "./server-paths.ts";
import { type LeafStatus, ServerPki } from "./server-pki.ts";
import { TokenRotation } from "./token-rotation.ts";

/** Leaves are looked at this often; the window before expiry is months. */
const renewalPeriodMs = 6 * 3_600_000;
/** How soon a rotation that the command line asks for begins. */
const requestPeriodMs = 2_000;

/** Registration: owns the CA keys, the tokens and the node passwords. */
export class Registration implements Service, RegistrationClient {
  readonly #dataDir: string;
  readonly #deps: RegistrationDependencies;
  readonly #api: ClusterApi;
  readonly #pki: ServerPki;
  readonly #credentials: CredentialStore;
  readonly #authenticator: Authenticator;
  readonly #passwords: NodePasswords;
  readonly #deferred: DeferredChecks;
  readonly #housekeeping: Housekeeping;
  readonly #agentCertificates: AgentCertificates;
  readonly #listenerCertificates: ListenerCertificates;
  readonly #bootstrap: ClusterBootstrap | undefined;
  readonly #identity: ServerIdentity;
  readonly #tokenRotation: TokenRotation;
  readonly #renewalListeners = new Set<(files: readonly string[]) => void>();
  readonly #internalApi: InternalApi | undefined;
  #unfollow: (() => void) | undefined;
  #prepared: Promise<void> | undefined;
  readonly #timers: Timer[] = [];
  #renewing = false;
  #serverConfig: ServerConfig | undefined;

  constructor(config: RegistrationConfig, deps: RegistrationDependencies) {
    this.#dataDir = config.dataDir;
    this.#deps = deps;
    const { clock, log, clusterApi: api, envelopes } = deps;
    this.#api = api;
    const names = serverNames(config);
    this.#pki = new ServerPki(
      {
        dataDir: config.dataDir,
        apiServerNames: names,
        etcdNames: uniqueNames(["localhost", "127.0.0.1", "::1", ...config.nodeIps, config.nodeName, "kine.sock"]),
        apiServerUrl: config.apiServerUrl ?? `https://127.0.0.1:${config.httpsPort}`,
        leafLifetimeMs: leafLifetime(config),
      },
      clock,
      log,
    );
    this.#credentials = new CredentialStore(this.#pki.paths);
    this.#authenticator = new Authenticator(this.#credentials, (id) => this.#findBootstrapToken(id), clock);
    this.#passwords = new NodePasswords(
      {
        ...(config.nodePasswordFile === undefined
          ? {}
          : { ownNode: { name: config.nodeName.toLowerCase(), passwordFile: config.nodePasswordFile } }),
        // libuv has four threads; one is left to file and name look-ups.
        hashConcurrency: config.hashConcurrency ?? Math.min(3, availableParallelism()),
        maxWaitingHashes: config.maxWaitingHashes ?? 2_000,
        provisionalAfterMs: config.provisionalAfterMs ?? 500,
      },
      api,
      clock,
      log,
      (check) => this.#deferred.add(check),
    );
    this.#deferred = new DeferredChecks(
      api,
      ({ nodeName, password }) => this.#passwords.check(nodeName, password),
      clock,
      log,
    );
    this.#housekeeping = new Housekeeping(api, clock, log);
    this.#agentCertificates = new AgentCertificates(this.#pki, this.#passwords, clock, log);
    this.#listenerCertificates = new ListenerCertificates(
      this.#pki,
      api,
      { configuredNames: names, guardNames: config.tlsSanSecurity ?? true },
      clock,
    );
    this.#bootstrap = envelopes === undefined ? undefined : new ClusterBootstrap(envelopes, this.paths, clock, log);
    this.#identity = new ServerIdentity(config, this.#pki, this.#credentials, this.#bootstrap, deps);
    const shared =
      envelopes === undefined || this.#bootstrap === undefined
        ? undefined
        : { store: envelopes, bootstrap: this.#bootstrap };
    this.#tokenRotation = new TokenRotation(this.#credentials, this.paths, clock, log, shared);
    if (config.internalApi !== undefined) {
      const listen = { ...config.internalApi, names: uniqueNames(["keelson-registration", ...names]) };
      this.#internalApi = new InternalApi(listen, this, this.#pki, clock, log);
    }
    this.#registerMetrics();
  }

  get paths(): ServerPaths {
    return this.#pki.paths;
  }

  /** Port of the internal API. */
  get internalPort(): number | undefined {
    return this.#internalApi?.port;
  }

  /** The full server token, as in the file `token`. */
  get serverToken(): string {
    return this.#credentials.serverToken;
  }

  /** Brings the files below `<dataDir>/server` into being, so that the parts that read them can start. Idempotent. */
  prepare(): Promise<void> {
    this.#prepared ??= this.#identity.establish().then((serverConfig) => {
      this.#serverConfig = serverConfig;
      this.#authenticator.trust(this.#pki.authority("client").bundlePem);
    });
    return this.#prepared;
  }

  async start(): Promise<void> {
    await this.prepare();
    await this.#internalApi?.start();
    await this.#publish();
    this.#unfollow = this.#tokenRotation.follow();
    this.#housekeeping.start();
    const { clock } = this.#deps;
    this.#timers.push(
      clock.setInterval(() => void this.#renewInBackground(), renewalPeriodMs),
      clock.setInterval(() => void this.#renewOnRequest(), requestPeriodMs),
    );
  }

  async stop(): Promise<void> {
    await this.#internalApi?.stop();
    for (const timer of this.#timers.splice(0)) timer.cancel();
    this.#unfollow?.();
    this.#housekeeping.stop();
    this.#deferred.stop();
    this.#passwords.stop();
  }

  async authenticate(credentials: Credentials): Promise<Authentication> {
    return this.#authenticator.authenticate(credentials);
  }

  async issueCertificate(request: CertificateRequest): Promise<Answer<string>> {
    return this.#agentCertificates.issue(request);
  }

  async signListener(request: ListenerRequest): Promise<Answer<ListenerCertificate>> {
    return this.#listenerCertificates.sign(request);
  }

  async caBundles(): Promise<CaBundles> {
    return {
      serverCaPem: this.#pki.authority("server").bundlePem,
      clientCaPem: this.#pki.authority("client").bundlePem,
      requestHeaderCaPem: this.#pki.authority("request-header").bundlePem,
    };
  }

  async clusterConfig(): Promise<ServerConfig> {
    if (this.#serverConfig === undefined)
      throw new KeelsonError("registration/not-ready", "registration is not prepared");
    return this.#serverConfig;
  }

  async apiServers(): Promise<readonly string[]> {
    return this.#api.apiServers();
  }

  async readiness(): Promise<Answer<"ok">> {
    return this.#api.ready ? accepted("ok") : refused(503, "registration/not-ready", "runtime core not ready");
  }

  async serverBootstrap(): Promise<Answer<string>> {
    return accepted(formatBootstrapData(await readBootstrapFiles(this.paths)));
  }

  async rotateToken(newToken: string): Promise<Answer<void>> {
    return this.#tokenRotation.rotate(newToken);
  }

  async replaceCas(bootstrapJson: string, force: boolean): Promise<Answer<void>> {
    const changed = await replaceAuthorities(this.#pki, bootstrapJson, force, this.#deps.clock);
    if (!changed.ok) return changed;
    const serverCaPem = this.#pki.authority("server").bundlePem;
    await this.#credentials.reload(serverCaPem);
    this.#authenticator.trust(this.#pki.authority("client").bundlePem);
    await this.renewCertificates();
    await this.#publish();
    this.#deps.log.info({ authorities: changed.value }, "certificate authorities replaced");
    return accepted(undefined);
  }

  /** Checks the node passwords that were accepted while the API was away; runs by itself every few seconds. */
  async runDeferredChecks(): Promise<void> {
    return this.#deferred.run();
  }

  /** Every leaf on disk: whose, until when, and whether it is due. */
  async certificateStatus(): Promise<LeafStatus[]> {
    return this.#pki.leafStatus();
  }

  /** Reissues the leaves that are due, and those of `files`; tells {@link onCertificatesRenewed}. */
  async renewCertificates(files: readonly string[] = []): Promise<string[]> {
    const renewed = await this.#pki.renewLeaves(({ file }) => files.includes(file));
    if (renewed.length > 0) {
      await this.#internalApi?.reloadCertificate();
      this.#deps.log.info({ certificates: renewed }, "certificates renewed");
      for (const listener of this.#renewalListeners) listener(renewed);
    }
    return renewed;
  }

  /** Calls back with the files of renewed leaves, so that their users load them without a restart. */
  onCertificatesRenewed(listener: (files: readonly string[]) => void): () => void {
    this.#renewalListeners.add(listener);
    return () => this.#renewalListeners.delete(listener);
  }

  /** Certificate and key of a leaf, by its file below `server/tls` without ending. */
  async readCertificate(file: string): Promise<{ certPem: string; keyPem: string }> {
    return this.#pki.readPair(file);
  }

  /**
   * TLS options with a leaf of this server and the server CA, whose fields are always those of today: whoever spreads them
   * into each connection goes on after a renewal without knowing of it.
   */
  async liveTls(file: string): Promise<{ readonly ca: string; readonly cert: string; readonly key: string }> {
    const read = async () => {
      const { certPem, keyPem } = await this.#pki.readPair(file);
      return { ca: this.#pki.authority("server").bundlePem, cert: certPem, key: keyPem };
    };
    let current = await read();
    this.onCertificatesRenewed((files) => {
      if (!files.includes(file)) return;
      read().then(
        (renewed) => {
          current = renewed;
        },
        (error: unknown) =>
          this.#deps.log.error({ err: error, certificate: file }, "a renewed certificate cannot be read"),
      );
    });
    return {
      get ca() {
        return current.ca;
      },
      get cert() {
        return current.cert;
      },
      get key() {
        return current.key;
      },
    };
  }

  /** The administrator's kubeconfig with everything embedded, for a server URL that people use. */
  async adminKubeconfig(server: string): Promise<string> {
    const { certPem, keyPem } = await this.#pki.readPair("client-admin");
    return embeddedKubeconfig({ server, caPem: this.#pki.authority("server").bundlePem, certPem, keyPem });
  }

  async #renewOnRequest(): Promise<void> {
    try {
      const files = await takeRotationRequest(this.#dataDir);
      if (files.length > 0) await this.renewCertificates(files);
    } catch (error) {
      this.#deps.log.error({ err: error }, "the certificates that were asked for could not be renewed");
    }
  }

  async #renewInBackground(): Promise<void> {
    if (this.#renewing) return;
    this.#renewing = true;
    try {
      await this.renewCertificates();
      await this.#publish();
    } catch (error) {
      this.#deps.log.error({ err: error }, "certificates could not be renewed; trying again in six hours");
    } finally {
      this.#renewing = false;
    }
  }

  /** Keeps the envelope in line with the files. A datastore that is away costs nothing now: it comes round again. */
  async #publish(): Promise<void> {
    try {
      await this.#bootstrap?.publish(this.#credentials.serverPassword);
    } catch (error) {
      this.#deps.log.warn(
        { reason: errorMessage(error) },
        "the cluster's identity could not be stored in the datastore yet",
      );
    }
  }

  async #findBootstrapToken(id: string): Promise<BootstrapToken | undefined> {
    try {
      const secret = await this.#api.getSecret(bootstrapTokenSecretName(id));
      return secret === undefined ? undefined : parseBootstrapTokenSecret(secret);
    } catch (error) {
      this.#deps.log.warn({ reason: errorMessage(error) }, "bootstrap tokens cannot be checked while the API is away");
      return undefined;
    }
  }

  #registerMetrics(): void {
    const passwords = this.#passwords;
    new Gauge({
      name: "keelson_registration_password_hashes_pending",
      help: "Node-password hashes that run or wait",
      registers: [this.#deps.registry],
      collect() {
        this.set(passwords.queueDepth);
      },
    });
  }
}
