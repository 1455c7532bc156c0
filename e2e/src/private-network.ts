import { GenericContainer, getContainerRuntimeClient } from "testcontainers";

/** Marks every container that goes with a network. */
export const networkLabel = "keelson.e2e.network";

/** A bridge network with fixed addresses: a container that was killed comes back at the address it had, as hosts do. */
export class PrivateNetwork {
  readonly name: string;
  readonly #prefix: string;

  private constructor(name: string, prefix: string) {
    this.name = name;
    this.#prefix = prefix;
  }

  /** `index` (0-15) keeps the address ranges of networks that are there at the same time apart. */
  static async create(name: string, index: number): Promise<PrivateNetwork> {
    const { dockerode } = (await getContainerRuntimeClient()).container;
    for (let attempt = 0; attempt < 16; attempt++) {
      const network = new PrivateNetwork(attempt === 0 ? name : `${name}-${attempt}`, `10.213.${index + 16 * attempt}`);
      // What a run that was killed left behind, unless the engine holds on to it.
      const [stale] = await dockerode.listNetworks({ filters: { name: [`^${network.name}$`] } });
      if (stale !== undefined && !(await network.remove())) continue;
      const Subnet = `${network.#prefix}.0/24`;
      await dockerode.createNetwork({ Name: network.name, Driver: "bridge", IPAM: { Config: [{ Subnet }] } });
      return network;
    }
    throw new Error(`the container engine holds on to sixteen networks named ${name}; restart it`);
  }

  address(host: number): string {
    return `${this.#prefix}.${host}`;
  }

  /**
   * Removes the network and every container that belongs to it, also those that it is disconnected from or not running.
   * Resolves to whether the network is gone: an engine may go on counting the endpoint of a container that is no more.
   */
  async remove(): Promise<boolean> {
    const { dockerode } = (await getContainerRuntimeClient()).container;
    const members = await dockerode.listContainers({ all: true, filters: { label: [`${networkLabel}=${this.name}`] } });
    await Promise.all(members.map(({ Id }) => dockerode.getContainer(Id).remove({ force: true, v: true })));
    for (let attempt = 1; ; attempt++) {
      try {
        await dockerode.getNetwork(this.name).remove();
        return true;
      } catch (error) {
        if (!String(error).includes("active endpoints")) throw error;
        if (attempt === 5) {
          console.warn(`network ${this.name} stays: the engine still counts endpoints of containers that are gone`);
          return false;
        }
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
  }
}

/** A container with a name and an address of its own in a private network. */
export class NetworkedContainer extends GenericContainer {
  readonly #network: PrivateNetwork;
  readonly #host: number;
  readonly names: readonly string[];

  /** The first name is its host name; a name may be shared with others of its kind. */
  constructor(image: string, network: PrivateNetwork, host: number, names: readonly string[]) {
    super(image);
    this.#network = network;
    this.#host = host;
    this.names = names;
    this.withNetworkMode(network.name).withLabels({ [networkLabel]: network.name });
  }

  /** Mounts the volumes of another container, which may be stopped. */
  withVolumesOf(containerId: string): this {
    this.hostConfig.VolumesFrom = [containerId];
    return this;
  }

  protected override async beforeContainerCreated(): Promise<void> {
    this.createOpts.Hostname = this.names[0]!;
    this.createOpts.NetworkingConfig = {
      EndpointsConfig: {
        [this.#network.name]: {
          IPAMConfig: { IPv4Address: this.#network.address(this.#host) },
          Aliases: [...this.names],
        },
      },
    };
  }
}
