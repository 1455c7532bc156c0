import type { ClusterApi, NodeEvent, NodeObject } from "@keelson/registration";
import type { SecretObject } from "@keelson/secret-format";

/** The few objects that registration keeps in the Kubernetes API, in memory: for joins without an API behind them. */
export class MemoryClusterApi implements ClusterApi {
  ready = true;
  readonly secrets = new Map<string, SecretObject>();
  readonly nodes = new Map<string, NodeObject>();
  readonly events: NodeEvent[] = [];
  addresses: string[] = [];

  knownSecret(name: string): SecretObject | undefined {
    return this.secrets.get(name);
  }

  async getSecret(name: string): Promise<SecretObject | undefined> {
    return this.secrets.get(name);
  }

  async createSecret(secret: SecretObject): Promise<"created" | "exists"> {
    const { name } = secret.metadata;
    if (this.secrets.has(name)) return "exists";
    this.secrets.set(name, secret);
    return "created";
  }

  async replaceSecret(secret: SecretObject): Promise<boolean> {
    if (!this.secrets.has(secret.metadata.name)) return false;
    this.secrets.set(secret.metadata.name, secret);
    return true;
  }

  async deleteSecret(name: string): Promise<boolean> {
    return this.secrets.delete(name);
  }

  async setSecretOwner(): Promise<void> {}

  async listSecrets(): Promise<readonly SecretObject[]> {
    return [...this.secrets.values()];
  }

  async getNode(name: string): Promise<NodeObject | undefined> {
    return this.nodes.get(name);
  }

  async listNodes(): Promise<readonly NodeObject[]> {
    return [...this.nodes.values()];
  }

  async setNodeTaints(): Promise<void> {}

  async establishRole(): Promise<void> {}

  async recordEvent(event: NodeEvent): Promise<void> {
    this.events.push(event);
  }

  async apiServers(): Promise<readonly string[]> {
    return this.addresses;
  }

  onNodeChange(): () => void {
    return () => {};
  }
}
