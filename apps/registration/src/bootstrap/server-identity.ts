import type { ServerConfig } from "@keelson/protocol/supervisor";
import { parseToken, secretsEqual } from "@keelson/secret-format";
import { type Clock, KeelsonError, type Logger, readFileIfExists } from "@keelson/service";
import type { ServerPki } from "../certificates/server-pki.ts";
import { clusterSettings, configuredTokens, type RegistrationConfig } from "../config.ts";
import { type CredentialStore, passwordIn } from "../tokens/credentials.ts";
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
    const isCompared = joinUrl !== undefined && (await this.#joinServer(joinUrl, tokens));
    const bootstrap = sharedDatastore ? this.#bootstrap : undefined;
    const role =
      bootstrap === undefined ? undefined : await this.#patiently(() => this.#openEnvelope(bootstrap, tokens));
    if (role !== undefined) tokens = [role.token];
    if (role?.role === "joined") await this.#patiently(() => this.#refuseOtherAgentToken());
    await this.#pki.load();
    await this.#credentials.load({ tokens, agentToken }, this.#pki.authority("server").bundlePem);
    if (role?.role === "joined" && !isCompared) await this.#patiently(() => this.#compareWithLiveServer());
    if (bootstrap !== undefined) await this.#patiently(() => bootstrap.publish(this.#credentials.serverPassword));
    const ipsecKey = await readFileIfExists(this.#pki.paths.ipsecKey);
    return this.#buildConfig(ipsecKey?.trim() ?? "");
  }

  /**
   * Takes the cluster's identity from a running server, after its configuration was found to agree with ours. Answers false
   * when that server says no agents' password to ask it with: the datastore does then.
   */
  async #joinServer(url: string, tokens: readonly string[]): Promise<boolean> {
    const storedPassword = await this.#credentials.storedServerPassword();
    const candidates = tokens.length > 0 ? tokens : storedPassword === undefined ? [] : [storedPassword];
    if (candidates.length === 0) {
      throw new KeelsonError("token/required", "token is required to join a cluster", {
        hint: "give --token with the content of server/token of a running server",
      });
    }
    if (storedPassword !== undefined) {
      const join = this.#serverJoin(url, candidates[0]!);
      const agentPassword = (await this.#credentials.storedAgentPassword()) ?? storedPassword;
      await join.compareConfig(this.#buildConfig(""), agentPassword);
      return true;
    }
    const { join, data } = await waitFor(`the server ${url}`, () => this.#fetchBootstrap(url, candidates), this.#deps);
    if (data !== undefined) {
      const agentPassword = passwordIn(data.PasswdFile?.content.toString() ?? "", "node");
      if (agentPassword !== undefined) {
        this.#refuseAgentTokenBeside(agentPassword, url);
        await join.compareConfig(this.#buildConfig(""), agentPassword);
      }
      await writeBootstrapFiles(this.#pki.paths, data, this.#deps.log);
      this.#deps.log.info({ server: url }, "took the cluster's identity from a running server");
      return agentPassword !== undefined;
    }
    if (this.#config.sharedDatastore) return false;
    throw new KeelsonError("server/no-bootstrap", `${url} hands out no bootstrap data`, {
      hint: "a server without embedded etcd is joined through its datastore: give --datastore-endpoint instead of --server",
    });
  }

  /** The bootstrap data for the first token that the server takes. */
  async #fetchBootstrap(url: string, tokens: readonly string[]) {
    let refusal: unknown;
    for (const token of tokens) {
      const join = this.#serverJoin(url, token);
      try {
        return { join, data: await join.fetchBootstrap() };
      } catch (error) {
        if (!(error instanceof KeelsonError) || !error.code.startsWith("token/")) throw error;
        refusal = error;
      }
    }
    if (tokens.length === 1) throw refusal;
    throw new KeelsonError("token/rejected", `${url} accepts none of the ${tokens.length} server tokens`, {
      hint: "use the token in the file server/token of a running server (an agent token does not join servers)",
      cause: refusal,
    });
  }

  #serverJoin(url: string, token: string): ServerJoin {
    return new ServerJoin({ url, token }, this.#deps.clock, this.#deps.log);
  }

  /** Asks the server that was named, or, in a shared datastore, whoever is alive there, whether our settings agree. */
  async #compareWithLiveServer(): Promise<void> {
    const url = this.#config.joinUrl ?? (await this.#liveServer());
    if (url === undefined) return;
    const { serverToken, agentToken } = this.#credentials;
    await this.#serverJoin(url, serverToken).compareConfig(this.#buildConfig(""), agentToken);
  }

  /**
   * The agents' token is one for all servers. Given another one, the first to start after all were stopped changes it; while
   * another server accepts the old one, half of the cluster would refuse each agent.
   */
  async #refuseOtherAgentToken(): Promise<void> {
    const stored = await this.#credentials.storedAgentPassword();
    if (stored === undefined || !this.#hasAgentTokenBeside(stored)) return;
    const url = await this.#liveServer();
    if (url !== undefined) this.#refuseAgentTokenBeside(stored, url);
  }

  #refuseAgentTokenBeside(agentPassword: string, server: string): void {
    if (!this.#hasAgentTokenBeside(agentPassword)) return;
    throw new KeelsonError("token/agent-mismatch", `--agent-token is not what ${server} accepts from agents`, {
      hint:
        "leave --agent-token out to take over the cluster's, or give the token in server/agent-token of a running server; " +
        "to change it, stop all servers first",
    });
  }

  #hasAgentTokenBeside(agentPassword: string): boolean {
    const { agentToken } = this.#config;
    return agentToken !== undefined && !secretsEqual(parseToken(agentToken).password, agentPassword);
  }

  /** In a shared datastore nobody names a server to join, but those that are alive leave word there. */
  async #liveServer(): Promise<string | undefined> {
    const { envelopes } = this.#deps;
    if (envelopes === undefined) return undefined;
    const { advertiseAddress = "", httpsPort, advertisePort = httpsPort } = this.#config;
    const [url] = await liveServers(envelopes, { address: advertiseAddress, port: advertisePort });
    return url;
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
