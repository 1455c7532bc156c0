import { availableParallelism } from "node:os";
import { serverCertificates, uniqueNames } from "@keelson/pki";
import {
  type Answer,
  type Authentication,
  accepted,
  type CaBundles,
  type CertificateRequest,
  type Credentials,
  type LeafSummary,
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
import { errorMessage, Gauge, KeelsonError, type Service } from "@keelson/service";
import { AgentCertificates } from "./agent-certificates.ts";
import { InternalApi } from "./api/internal-api.ts";
import { Authenticator } from "./authenticator.ts";
import { readBootstrapFiles } from "./bootstrap-files.ts";
import { CertificateWarnings } from "./certificate-warnings.ts";
import type { ClusterApi } from "./cluster-api.ts";
import { ClusterBootstrap } from "./cluster-bootstrap.ts";
import { leafLifetime, type RegistrationConfig, type RegistrationDependencies, serverNames } from "./config.ts";
import { CredentialStore } from "./credentials.ts";
import { DeferredChecks } from "./deferred-checks.ts";
import { Housekeeping } from "./housekeeping.ts";
import { embeddedKubeconfig } from "./kubeconfig.ts";
import { LeafRenewal, type LiveTls } from "./leaf-renewal.ts";
import { ListenerCertificates } from "./listener-certificates.ts";
import { NodePasswords } from "./node-passwords.ts";
import { ServerIdentity } from "./server-identity.ts";
import type { ServerPaths } from "./server-paths.ts";
import { type LeafStatus, ServerPki } from "./server-pki.ts";
import { SharedAuthorities } from "./shared-authorities.ts";
import { TokenRotation } from "./token-rotation.ts";
import { VerifiedCache } from "./verified-cache.ts";
import { VerifiedCacheFile } from "./verified-cache-file.ts";

/** Nodes whose password is remembered as verified. */
const maxVerified = 20_000;

/** Registration: owns the CA keys, the tokens and the node passwords. */
export class Registration implements Service, RegistrationClient {
  readonly #deps: RegistrationDependencies;
  readonly #api: ClusterApi;
  readonly #pki: ServerPki;
  readonly #credentials: CredentialStore;
  readonly #authenticator: Authenticator;
  readonly #passwords: NodePasswords;
  readonly #verifiedFile: VerifiedCacheFile;
  readonly #deferred: DeferredChecks;
  readonly #housekeeping: Housekeeping;
  readonly #agentCertificates: AgentCertificates;
  readonly #listenerCertificates: ListenerCertificates;
  readonly #authorities: SharedAuthorities;
  readonly #identity: ServerIdentity;
  readonly #tokenRotation: TokenRotation;
  readonly #renewal: LeafRenewal;
  readonly #warnings: CertificateWarnings;
  readonly #internalApi: InternalApi | undefined;
  /** Ends what still waits for other machines when registration is stopped. */
  readonly #stopped = new AbortController();
  #unfollow: (() => void) | undefined;
  #prepared: Promise<void> | undefined;
  #serverConfig: ServerConfig | undefined;

  constructor(config: RegistrationConfig, deps: RegistrationDependencies) {
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
    const verified = new VerifiedCache(maxVerified);
    this.#passwords = new NodePasswords(
      {
        ...(config.nodePasswordFile === undefined
          ? {}
          : { ownNode: { name: config.nodeName.toLowerCase(), passwordFile: config.nodePasswordFile } }),
        // libuv has four threads; one is left to file and name look-ups.
        hashConcurrency: config.hashConcurrency ?? Math.min(3, availableParallelism()),
        maxWaitingHashes: config.maxWaitingHashes ?? 2_000,
        provisionalAfterMs: config.provisionalAfterMs ?? 0,
      },
      api,
      verified,
      clock,
      log,
      (check) => this.#deferred.add(check),
    );
    this.#verifiedFile = new VerifiedCacheFile(verified, this.paths.verifiedNodePasswords, clock, log);
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
    const bootstrap = envelopes === undefined ? undefined : new ClusterBootstrap(envelopes, this.paths, clock, log);
    this.#identity = new ServerIdentity(config, this.#pki, this.#credentials, bootstrap, {
      log,
      clock,
      envelopes,
      signal: this.#stopped.signal,
    });
    this.#renewal = new LeafRenewal(this.#pki, config.dataDir, clock, log);
    this.#authorities = new SharedAuthorities(
      {
        pki: this.#pki,
        credentials: this.#credentials,
        authenticator: this.#authenticator,
        renewal: this.#renewal,
        bootstrap,
      },
      clock,
      log,
    );
    this.#warnings = new CertificateWarnings(this.#pki, api, config.nodeName.toLowerCase(), clock, log);
    const shared = envelopes === undefined || bootstrap === undefined ? undefined : { store: envelopes, bootstrap };
    this.#tokenRotation = new TokenRotation(this.#credentials, this.paths, clock, log, shared);
    if (config.internalApi !== undefined) {
      const listen = { ...config.internalApi, names: uniqueNames(["keelson-registration", ...names]) };
      const internalApi = new InternalApi(listen, this, this.#pki, clock, log);
      this.#internalApi = internalApi;
      this.#renewal.onRenewed(() => {
        internalApi.reloadCertificate().catch((error: unknown) => {
          log.error({ err: error }, "the internal API keeps its old certificate");
        });
      });
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
    await this.#authorities.start();
    await this.#verifiedFile.start(this.#pki.deriveKey("verified node passwords"));
    this.#unfollow = this.#tokenRotation.follow();
    this.#housekeeping.start();
    this.#renewal.start();
    this.#warnings.start();
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new KeelsonError("registration/stopped", "registration was stopped"));
    await this.#internalApi?.stop();
    this.#unfollow?.();
    this.#authorities.stop();
    this.#renewal.stop();
    this.#warnings.stop();
    this.#housekeeping.stop();
    this.#deferred.stop();
    this.#passwords.stop();
    await this.#verifiedFile.stop();
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
    return this.#authorities.replace(bootstrapJson, force);
  }

  /** Checks the node passwords that were accepted while the API was away; runs by itself every few seconds. */
  async runDeferredChecks(): Promise<void> {
    return this.#deferred.run();
  }

  /** Every leaf on disk: whose, until when, and whether it is due. */
  async certificateStatus(): Promise<LeafStatus[]> {
    return this.#pki.leafStatus();
  }

  async leafStatus(): Promise<LeafSummary[]> {
    const time = (ms: number): string => new Date(ms).toISOString();
    return (await this.#pki.leafStatus()).map(({ certificate, commonName, notBeforeMs, notAfterMs, plan }) => ({
      name: certificate.file,
      commonName,
      notBefore: time(notBeforeMs),
      notAfter: time(notAfterMs),
      renewAt: time(plan.renewAtMs),
      ...(plan.reason === undefined ? {} : { reason: plan.reason }),
    }));
  }

  async renewLeaf(name: string): Promise<Answer<void>> {
    if (!serverCertificates.some(({ file }) => file === name)) {
      return refused(404, "certificate/unknown", "there is no such certificate");
    }
    await this.renewCertificates([name]);
    return accepted(undefined);
  }

  /** Reissues the leaves that are due, and those of `files`; tells {@link onCertificatesRenewed}. */
  async renewCertificates(files: readonly string[] = []): Promise<string[]> {
    return this.#renewal.renew(files);
  }

  /** Calls back with the files of renewed leaves, so that their users load them without a restart. */
  onCertificatesRenewed(listener: (files: readonly string[]) => void): () => void {
    return this.#renewal.onRenewed(listener);
  }

  /** Certificate and key of a leaf, by its file below `server/tls` without ending. */
  async readCertificate(file: string): Promise<{ certPem: string; keyPem: string }> {
    return this.#pki.readPair(file);
  }

  /** TLS options with a leaf of this server and the server CA, whose fields are always those of today. */
  async liveTls(file: string): Promise<LiveTls> {
    return this.#renewal.liveTls(file);
  }

  /** The administrator's kubeconfig with everything embedded, for a server URL that people use. */
  async adminKubeconfig(server: string): Promise<string> {
    const { certPem, keyPem } = await this.#pki.readPair("client-admin");
    return embeddedKubeconfig({ server, caPem: this.#pki.authority("server").bundlePem, certPem, keyPem });
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
