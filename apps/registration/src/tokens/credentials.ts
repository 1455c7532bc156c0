import { randomBytes } from "node:crypto";
import { lstat, readlink, rm, symlink } from "node:fs/promises";
import { groups } from "@keelson/protocol/supervisor";
import {
  formatPasswd,
  formatToken,
  hashCaBundle,
  type PasswdEntry,
  parsePasswd,
  parseToken,
  secretsEqual,
} from "@keelson/secret-format";
import { errorCode, KeelsonError, readFileIfExists, writeFileAtomic } from "@keelson/service";
import type { ServerPaths } from "../server-paths.ts";

export interface ConfiguredTokens {
  /** Server token; several when the cluster may still run on an older one, the first is the wanted one. */
  tokens: readonly string[];
  agentToken: string | undefined;
}

/**
 * The passwords behind Basic authentication: `cred/passwd` and the token files that are made of it. They are part of the
 * bootstrap data, so every server of a cluster has the same.
 */
export class CredentialStore {
  readonly #paths: ServerPaths;
  #entries: readonly PasswdEntry[] = [];
  #caHash = "";
  #isSuspended = false;

  constructor(paths: ServerPaths) {
    this.#paths = paths;
  }

  /** Reads or creates passwd and the token files. Refuses a configured token that is not the stored one. */
  async load(configured: ConfiguredTokens, serverCaPem: string): Promise<void> {
    this.#caHash = hashCaBundle(serverCaPem);
    const wanted = configured.tokens.map((token) => this.#passwordOf(token));
    const stored = await this.#readPasswd();
    const storedServer = stored?.find((entry) => entry.name === "server")?.password;
    if (storedServer !== undefined && wanted.length > 0 && !wanted.some((token) => secretsEqual(token, storedServer))) {
      throw new KeelsonError("token/mismatch", "the configured token is not the token of this cluster", {
        hint: `use the token in ${this.#paths.token}, or change it with "keelson token rotate"`,
      });
    }
    const serverPassword = storedServer ?? wanted[0] ?? randomBytes(16).toString("hex");
    const storedNode = stored?.find((entry) => entry.name === "node")?.password;
    const agentPassword =
      configured.agentToken === undefined ? (storedNode ?? serverPassword) : this.#passwordOf(configured.agentToken);
    await this.#store(serverPassword, agentPassword, stored ?? []);
  }

  /** The server password that an earlier start left on disk. */
  async storedServerPassword(): Promise<string | undefined> {
    return passwordIn((await readFileIfExists(this.#paths.passwd)) ?? "", "server");
  }

  /** The agents' password that an earlier start, or the cluster's envelope, left on disk. */
  async storedAgentPassword(): Promise<string | undefined> {
    return passwordIn((await readFileIfExists(this.#paths.passwd)) ?? "", "node");
  }

  /** The user behind a name and password, in a time that does not depend on either. */
  check(name: string, password: string): PasswdEntry | undefined {
    let found: PasswdEntry | undefined;
    for (const entry of this.#entries) {
      const same = secretsEqual(entry.password, password);
      if (secretsEqual(entry.name, name) && same && entry.password !== "") found = entry;
    }
    if (this.#isSuspended && found !== undefined && secretsEqual(found.password, this.serverPassword)) return undefined;
    return found;
  }

  /** Whether the server password lets nobody in, because it is not the cluster's any more. */
  get isSuspended(): boolean {
    return this.#isSuspended;
  }

  /** Lets nobody in by the server password, until it is replaced or found to be right. */
  suspend(): void {
    this.#isSuspended = true;
  }

  resume(): void {
    this.#isSuspended = false;
  }

  /** `K10<hash>::server:<password>`, what the file `token` holds. */
  get serverToken(): string {
    return formatToken(this.#caHash, "server", this.serverPassword);
  }

  get agentToken(): string {
    return formatToken(this.#caHash, "node", this.#passwordFor("node"));
  }

  get serverPassword(): string {
    return this.#passwordFor("server");
  }

  get caHash(): string {
    return this.#caHash;
  }

  /** Whether agents join with a token of their own. */
  get hasAgentToken(): boolean {
    return !secretsEqual(this.#passwordFor("node"), this.serverPassword);
  }

  /** Whether a password is the one that agents have of their own. */
  isAgentPassword(password: string): boolean {
    return this.hasAgentToken && secretsEqual(this.#passwordFor("node"), password);
  }

  /** Replaces the server password, and the agents' with it when they share it. */
  async replaceServerPassword(password: string): Promise<void> {
    const agentPassword = this.hasAgentToken ? this.#passwordFor("node") : password;
    await this.#store(password, agentPassword, this.#entries);
    this.resume();
  }

  /** The text of passwd as it will be after {@link replaceServerPassword}. */
  passwdWith(password: string): string {
    const agentPassword = this.hasAgentToken ? this.#passwordFor("node") : password;
    return formatPasswd(entriesOf(password, agentPassword, this.#entries));
  }

  /** Takes over a passwd file that another server wrote. */
  async reload(serverCaPem: string): Promise<void> {
    this.#caHash = hashCaBundle(serverCaPem);
    const entries = (await this.#readPasswd()) ?? [];
    const password = (name: string): string | undefined => entries.find((entry) => entry.name === name)?.password;
    const server = password("server");
    if (server === undefined) throw new KeelsonError("passwd/invalid", `${this.#paths.passwd} has no user "server"`);
    await this.#store(server, password("node") ?? server, entries);
  }

  #passwordFor(name: string): string {
    const entry = this.#entries.find((candidate) => candidate.name === name);
    if (entry === undefined) throw new KeelsonError("passwd/not-loaded", "tokens are not loaded yet");
    return entry.password;
  }

  #passwordOf(token: string): string {
    const { caHash, password, bootstrap } = parseToken(token);
    if (bootstrap !== undefined) {
      throw new KeelsonError("token/invalid", "a bootstrap token cannot be the server or agent token", {
        hint: "bootstrap tokens let agents join; give the server a password",
      });
    }
    if (caHash !== undefined && caHash !== "" && caHash !== this.#caHash) {
      throw new KeelsonError(
        "token/ca-mismatch",
        `token CA hash does not match the Cluster CA certificate hash: ${caHash} != ${this.#caHash}`,
        { hint: "the first server of a cluster makes its CA: give it only the part after the last colon" },
      );
    }
    return password;
  }

  async #readPasswd(): Promise<PasswdEntry[] | undefined> {
    const text = await readFileIfExists(this.#paths.passwd);
    return text === undefined ? undefined : parsePasswd(text);
  }

  async #store(serverPassword: string, agentPassword: string, others: readonly PasswdEntry[]): Promise<void> {
    const entries = entriesOf(serverPassword, agentPassword, others);
    await writeIfChanged(this.#paths.passwd, formatPasswd(entries));
    this.#entries = entries;
    await writeIfChanged(this.#paths.token, `${this.serverToken}\n`);
    await this.#link(this.#paths.nodeToken);
    if (this.hasAgentToken) {
      if (await isLink(this.#paths.agentToken)) await rm(this.#paths.agentToken);
      await writeIfChanged(this.#paths.agentToken, `${this.agentToken}\n`);
    } else {
      await this.#link(this.#paths.agentToken);
    }
  }

  /** Points a token file at `token`. */
  async #link(path: string): Promise<void> {
    if ((await isLink(path)) && (await readlink(path)) === this.#paths.token) return;
    await rm(path, { force: true });
    await symlink(this.#paths.token, path);
  }
}

/** The password of a user in the text of a passwd file. */
export function passwordIn(passwd: string, user: "server" | "node"): string | undefined {
  return parsePasswd(passwd).find((entry) => entry.name === user)?.password;
}

function entriesOf(serverPassword: string, agentPassword: string, others: readonly PasswdEntry[]): PasswdEntry[] {
  return [
    { password: agentPassword, name: "node", uid: "node", groups: [groups.agent] },
    { password: serverPassword, name: "server", uid: "server", groups: [groups.server] },
    ...others.filter((entry) => entry.name !== "node" && entry.name !== "server"),
  ];
}

async function isLink(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSymbolicLink();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

async function writeIfChanged(path: string, content: string): Promise<void> {
  if ((await readFileIfExists(path)) !== content) await writeFileAtomic(path, content, 0o600);
}
