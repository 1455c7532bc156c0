import type { ServerConfig } from "@keelson/protocol/supervisor";
import { type Clock, KeelsonError, type Logger, readFileIfExists } from "@keelson/service";
import type { ServerPki } from "../certificates/server-pki.ts";
import { clusterSettings, configuredTokens, type RegistrationConfig } from "../config.ts";
import type { CredentialStore } from "../tokens/credentials.ts";
import { writeBootstrapFiles } from "./bootstrap-files.ts";
import type { ClusterBootstrap } from "./cluster-bootstrap.ts";
import { buildServerConfig } from "./cluster-config.ts";
import type { EnvelopeStore } from "./envelope-store.ts";
import { liveServers } from "./live-servers.ts";
import { waitFor } from "./patience.ts";
import { ServerJoin } from "./server-join.ts";

/** What an identity that comes from elsewhere is made with. */
interface IdentityDependencies {
  log: Logger;
  clock: Clock;
  envelopes?: EnvelopeStore | undefined;
  /** Ends the waiting for other machines. */
  signal: AbortSignal;
}

/**
 * Brings this server's identity into being: from a running server, from the envelope in a shared datastore, from its own
 * disk, or, when it is the first, from nothing. A server or datastore that is away is waited for.
 */
export class ServerIdentity {
  readonly #config: RegistrationConfig;
  readonly #pki: ServerPki;
  readonly #credentials: CredentialStore;
  readonly #bootstrap: ClusterBootstrap | undefined;
  readonly #deps: IdentityDependencies;

  constructor(
    config: RegistrationConfig,
    pki: ServerPki,
    credentials: CredentialStore,
    bootstrap: ClusterBootstrap | undefined,
    deps: IdentityDependencies,
  ) {
    this.#config = config;
    this.#pki = pki;
    this.#credentials = credentials;
    this.#bootstrap = bootstrap;
    this.#deps = deps;
  }

  /** Answers the configuration that agents read, once every file is in its place. */
  async establish(): Promise<ServerConfig> {
    const { agentToken, joinUrl, sharedDatastore } = this.#config;
    let tokens = configuredTokens(this.#config);
    if (joinUrl !== undefined) await this.#joinServer(joinUrl, tokens);
    const bootstrap = sharedDatastore ? this.#bootstrap : undefined;
    const role =
      bootstrap === undefined ? undefined : await this.#patiently(() => this.#openEnvelope(bootstrap, tokens));
    if (role !== undefined) tokens = [role.token];
    await this.#pki.load();
    await this.#credentials.load({ tokens, agentToken }, this.#pki.authority("server").bundlePem);
    if (role?.role === "joined" && joinUrl === undefined) await this.#patiently(() => this.#compareWithLiveServers());
    if (bootstrap !== undefined) await this.#patiently(() => bootstrap.publish(this.#credentials.serverPassword));
    const ipsecKey = await readFileIfExists(this.#pki.paths.ipsecKey);
    return this.#buildConfig(ipsecKey?.trim() ?? "");
  }

  /** Takes the cluster's identity from a running server, after its configuration was found to agree with ours. */
  async #joinServer(url: string, tokens: readonly string[]): Promise<void> {
    const token = tokens[0] ?? (await this.#credentials.storedServerPassword());
    if (token === undefined) {
      throw new KeelsonError("token/required", "token is required to join a cluster", {
        hint: "give --token with the content of server/token of a running server",
      });
    }
    const join = new ServerJoin({ url, token, agentToken: this.#config.agentToken }, this.#deps.clock, this.#deps.log);
    const isKnown = (await this.#credentials.storedServerPassword()) !== undefined;
    const data = isKnown ? undefined : await waitFor(`the server ${url}`, () => join.fetchBootstrap(), this.#deps);
    await join.compareConfig(this.#buildConfig(""));
    if (isKnown) return;
    if (data !== undefined) {
      await writeBootstrapFiles(this.#pki.paths, data, this.#deps.log);
      this.#deps.log.info({ server: url }, "took the cluster's identity from a running server");
    } else if (!this.#config.sharedDatastore) {
      throw new KeelsonError("server/no-bootstrap", `${url} hands out no bootstrap data`, {
        hint: "a server without embedded etcd is joined through its datastore: give --datastore-endpoint instead of --server",
      });
    }
  }

  /** In a shared datastore nobody names a server to join, so whoever is alive there is asked whether our settings agree. */
  async #compareWithLiveServers(): Promise<void> {
    const { envelopes } = this.#deps;
    if (envelopes === undefined) return;
    const { advertiseAddress = "", httpsPort, advertisePort = httpsPort } = this.#config;
    const [url] = await liveServers(envelopes, { address: advertiseAddress, port: advertisePort });
    if (url === undefined) return;
    const { serverToken, agentToken } = this.#credentials;
    const join = new ServerJoin({ url, token: serverToken, agentToken }, this.#deps.clock, this.#deps.log);
    await join.compareConfig(this.#buildConfig(""));
  }

  /** Opens the envelope in the datastore, or founds the cluster; answers the token that is in force. */
  async #openEnvelope(
    bootstrap: ClusterBootstrap,
    configured: readonly string[],
  ): Promise<{ role: "joined" | "founder"; token: string }> {
    const tokens =
      configured.length > 0
        ? configured
        : [(await this.#credentials.storedServerPassword()) ?? (await bootstrap.firstToken())];
    const { role, token } = await bootstrap.obtain(tokens);
    const what = role === "founder" ? "founding a new cluster" : "took the cluster's identity from the datastore";
    this.#deps.log.info({ role }, what);
    return { role, token };
  }

  #patiently<T>(attempt: () => Promise<T>): Promise<T> {
    return waitFor("the datastore", attempt, this.#deps);
  }

  #buildConfig(ipsecKey: string): ServerConfig {
    const { httpsPort, advertiseAddress = "", advertisePort = httpsPort } = this.#config;
    return buildServerConfig(clusterSettings(this.#config), { httpsPort, advertiseAddress, advertisePort }, ipsecKey);
  }
}
