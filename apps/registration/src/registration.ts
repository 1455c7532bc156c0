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
import { formatBootstrapData } from "@keelson/secret-format";
import { KeelsonError, type Service } from "@keelson/service";
import { InternalApi } from "./api/internal-api.ts";
import { readBootstrapFiles } from "./bootstrap/bootstrap-files.ts";
import { ClusterBootstrap } from "./bootstrap/cluster-bootstrap.ts";
import { checkClusterSettings } from "./bootstrap/cluster-config.ts";
import { ServerIdentity } from "./bootstrap/server-identity.ts";
import { CertificateWarnings } from "./certificates/certificate-warnings.ts";
import { embeddedKubeconfig } from "./certificates/kubeconfig.ts";
import { LeafRenewal, type LiveTls } from "./certificates/leaf-renewal.ts";
import { summaryOf } from "./certificates/leaf-summary.ts";
import { ListenerCertificates } from "./certificates/listener-certificates.ts";
import { type LeafStatus, ServerPki } from "./certificates/server-pki.ts";
import { SharedAuthorities } from "./certificates/shared-authorities.ts";
import { AgentRoles } from "./cluster/agent-roles.ts";
import type { ClusterApi } from "./cluster/cluster-api.ts";
import {
  clusterSettings,
  etcdNames,
  leafLifetime,
  nodePasswordOptions,
  type RegistrationConfig,
  type RegistrationDependencies,
  serverNames,
} from "./config.ts";
import { AgentCertificates } from "./nodes/agent-certificates.ts";
import { DeferredChecks } from "./nodes/deferred-checks.ts";
import { Housekeeping } from "./nodes/housekeeping.ts";
import { KubeletTaint } from "./nodes/kubelet-taint.ts";
import { NodePasswords } from "./nodes/node-passwords.ts";
import { VerifiedCache } from "./nodes/verified-cache.ts";
import { VerifiedCacheFile } from "./nodes/verified-cache-file.ts";
import { registerMetrics } from "./registration-metrics.ts";
import type { ServerPaths } from "./server-paths.ts";
import { Authenticator } from "./tokens/authenticator.ts";
import { BootstrapTokenLookup } from "./tokens/bootstrap-token-lookup.ts";
import { CredentialStore } from "./tokens/credentials.ts";
import { TokenRotation } from "./tokens/token-rotation.ts";

/** Nodes whose password is remembered as verified. */
const maxVerified = 20_000;

/** Registration: owns the CA keys, the tokens and the node passwords. */
export class Registration implements Service, RegistrationClient {
  readonly #api: ClusterApi;
  readonly #pki: ServerPki;
  readonly #credentials: CredentialStore;
  readonly #authenticator: Authenticator;
  readonly #passwords: NodePasswords;
  readonly #verifiedFile: VerifiedCacheFile;
  readonly #deferred: DeferredChecks;
  /** What goes on beside the requests while registration runs. */
  readonly #duties: readonly { start(): void; stop(): void }[];
  readonly #agentCertificates: AgentCertificates;
  readonly #listenerCertificates: ListenerCertificates;
  readonly #authorities: SharedAuthorities;
  readonly #identity: ServerIdentity;
  readonly #tokenRotation: TokenRotation;
  readonly #renewal: LeafRenewal;
  readonly #internalApi: InternalApi | undefined;
  /** Ends what still waits for other machines when registration is stopped. */
  readonly #stopped = new AbortController();
  #unfollow: (() => void) | undefined;
  #prepared: Promise<void> | undefined;
  #serverConfig: ServerConfig | undefined;

  constructor(config: RegistrationConfig, deps: RegistrationDependencies) {
    const { clock, log, clusterApi: api, envelopes } = deps;
    this.#api = api;
    checkClusterSettings(clusterSettings(config));
    const names = serverNames(config);
    this.#pki = new ServerPki(
      {
        dataDir: config.dataDir,
        apiServerNames: names,
        etcdNames: etcdNames(config),
        apiServerUrl: config.apiServerUrl ?? `https://127.0.0.1:${config.httpsPort}`,
        leafLifetimeMs: leafLifetime(config),
      },
      clock,
      log,
    );
    this.#credentials = new CredentialStore(this.#pki.paths);
    const bootstrapTokens = new BootstrapTokenLookup(api, log);
    this.#authenticator = new Authenticator(
      this.#credentials,
      (id) => bootstrapTokens.find(id),
      (password) => this.#tokenRotation.takesUp(password),
      clock,
    );
    const verified = new VerifiedCache(maxVerified);
    this.#passwords = new NodePasswords(nodePasswordOptions(config), api, verified, clock, log, (check) =>
      this.#deferred.add(check),
    );
    this.#verifiedFile = new VerifiedCacheFile(verified, this.paths.verifiedNodePasswords, clock, log);
    this.#deferred = new DeferredChecks(
      api,
      ({ nodeName, password }) => this.#passwords.check(nodeName, password),
      clock,
      log,
    );
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
    this.#duties = [
      new Housekeeping(api, clock, log),
      new KubeletTaint(api, log),
      new AgentRoles(api, clock, log),
      this.#renewal,
      new CertificateWarnings(this.#pki, api, config.nodeName.toLowerCase(), clock, log),
    ];
    const shared = envelopes === undefined || bootstrap === undefined ? undefined : { store: envelopes, bootstrap };
    this.#tokenRotation = new TokenRotation(this.#credentials, this.paths, log, shared);
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
    registerMetrics(deps.registry, this.#pki, () => this.#passwords.queueDepth);
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

  /** The full token that agents join with now: it changes with a rotation. */
  get agentToken(): string {
    return this.#credentials.agentToken;
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
    for (const duty of this.#duties) duty.start();
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new KeelsonError("registration/stopped", "registration was stopped"));
    await this.#internalApi?.stop();
    this.#unfollow?.();
    await this.#authorities.stop();
    for (const duty of this.#duties) duty.stop();
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
    return (await this.#pki.leafStatus()).map(summaryOf);
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
}
