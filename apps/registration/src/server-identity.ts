import type { ServerConfig } from "@keelson/protocol/supervisor";
import { type Dependencies, KeelsonError, readFileIfExists } from "@keelson/service";
import { writeBootstrapFiles } from "./bootstrap-files.ts";
import type { ClusterBootstrap } from "./cluster-bootstrap.ts";
import { buildServerConfig } from "./cluster-config.ts";
import { clusterSettings, configuredTokens, type RegistrationConfig } from "./config.ts";
import type { CredentialStore } from "./credentials.ts";
import { ServerJoin } from "./server-join.ts";
import type { ServerPki } from "./server-pki.ts";

/**
 * Brings this server's identity into being: from a running server, from the envelope in a shared datastore, from its own
 * disk, or, when it is the first, from nothing.
 */
export class ServerIdentity {
  readonly #config: RegistrationConfig;
  readonly #pki: ServerPki;
  readonly #credentials: CredentialStore;
  readonly #bootstrap: ClusterBootstrap | undefined;
  readonly #deps: Pick<Dependencies, "log" | "clock">;

  constructor(
    config: RegistrationConfig,
    pki: ServerPki,
    credentials: CredentialStore,
    bootstrap: ClusterBootstrap | undefined,
    deps: Pick<Dependencies, "log" | "clock">,
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
    if (sharedDatastore && this.#bootstrap !== undefined) tokens = [await this.#openEnvelope(this.#bootstrap, tokens)];
    await this.#pki.load();
    await this.#credentials.load({ tokens, agentToken }, this.#pki.authority("server").bundlePem);
    if (sharedDatastore) await this.#bootstrap?.publish(this.#credentials.serverPassword);
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
    await join.compareConfig(this.#buildConfig(""));
    const isKnown = (await this.#credentials.storedServerPassword()) !== undefined;
    if (isKnown) return;
    const data = await join.fetchBootstrap();
    if (data !== undefined) {
      await writeBootstrapFiles(this.#pki.paths, data, this.#deps.log);
      this.#deps.log.info({ server: url }, "took the cluster's identity from a running server");
    } else if (!this.#config.sharedDatastore) {
      throw new KeelsonError("server/no-bootstrap", `${url} hands out no bootstrap data`, {
        hint: "a server without embedded etcd is joined through its datastore: give --datastore-endpoint instead of --server",
      });
    }
  }

  /** Opens the envelope in the datastore, or founds the cluster; answers the token that is in force. */
  async #openEnvelope(bootstrap: ClusterBootstrap, configured: readonly string[]): Promise<string> {
    const tokens =
      configured.length > 0
        ? configured
        : [(await this.#credentials.storedServerPassword()) ?? (await bootstrap.firstToken())];
    const { role, token } = await bootstrap.obtain(tokens);
    const what = role === "founder" ? "founding a new cluster" : "took the cluster's identity from the datastore";
    this.#deps.log.info({ role }, what);
    return token;
  }

  #buildConfig(ipsecKey: string): ServerConfig {
    const { httpsPort, advertiseAddress = "", advertisePort = httpsPort } = this.#config;
    return buildServerConfig(clusterSettings(this.#config), { httpsPort, advertiseAddress, advertisePort }, ipsecKey);
  }
}
