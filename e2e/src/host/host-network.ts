import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Why namespaces cannot be made here; undefined when they can. */
export async function lacksNamespaces(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "network namespaces need root";
  const name = `keelson-probe-${process.pid}`;
  try {
    await run("ip", ["netns", "add", name]);
    await run("ip", ["netns", "del", name]);
    return undefined;
  } catch (error) {
    return `no network namespace can be made: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/**
 * Hosts of this machine: a network namespace each, with an address of its own, on a bridge that lives in a namespace too, so
 * that neither the machine's firewall nor its addresses play a part.
 */
export class HostNetwork {
  readonly #prefix = `kl${process.pid}`;
  readonly #hosts = new Map<string, number>();

  /** Makes the switch; `addHost` then adds hosts. */
  async create(): Promise<void> {
    await this.#ip("netns", "add", this.#switch);
    await this.#ip("-n", this.#switch, "link", "add", "bridge", "type", "bridge");
    await this.#ip("-n", this.#switch, "link", "set", "bridge", "up");
  }

  /** Adds a host; `number` (2-254) is the last part of its address. Resolves to the address. */
  async addHost(name: string, number: number): Promise<string> {
    const namespace = this.namespace(name);
    const port = `port${number}`;
    await this.#ip("netns", "add", namespace);
    this.#hosts.set(name, number);
    await this.#ip(
      "link",
      "add",
      port,
      "netns",
      this.#switch,
      "type",
      "veth",
      "peer",
      "name",
      "eth0",
      "netns",
      namespace,
    );
    await this.#ip("-n", this.#switch, "link", "set", port, "master", "bridge", "up");
    await this.#ip("-n", namespace, "addr", "add", `${this.address(number)}/24`, "dev", "eth0");
    for (const device of ["lo", "eth0"]) await this.#ip("-n", namespace, "link", "set", device, "up");
    return this.address(number);
  }

  address(number: number): string {
    return `10.214.77.${number}`;
  }

  /** The arguments of `ip` that run a program on that host, in the program's own process. */
  inside(name: string, file: string, args: readonly string[]): { file: string; args: string[] } {
    return { file: "ip", args: ["netns", "exec", this.namespace(name), file, ...args] };
  }

  namespace(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  /** Takes the host off the switch: its link stays up, and every packet to and from it vanishes. */
  async cut(name: string): Promise<void> {
    await this.#ip("-n", this.#switch, "link", "set", this.#portOf(name), "nomaster");
  }

  async heal(name: string): Promise<void> {
    await this.#ip("-n", this.#switch, "link", "set", this.#portOf(name), "master", "bridge");
  }

  /** Removes everything; what still runs in a namespace must have ended before. */
  async remove(): Promise<void> {
    for (const name of this.#hosts.keys()) await this.#ip("netns", "del", this.namespace(name));
    await this.#ip("netns", "del", this.#switch);
  }

  get #switch(): string {
    return `${this.#prefix}-switch`;
  }

  #portOf(name: string): string {
    return `port${this.#hosts.get(name)}`;
  }

  async #ip(...args: string[]): Promise<void> {
    await run("ip", args);
  }
}
