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

  /** `index` (0-255) keeps the address ranges of several networks apart. */
  static async create(name: string, index: number): Promise<PrivateNetwork> {
    const { dockerode } = (await getContainerRuntimeClient()).container;
    const prefix = `10.213.${index}`;
    // What a run that was killed left behind.
    const [stale] = await dockerode.listNetworks({ filters: { name: [`^${name}$`] } });
    if (stale !== undefined) await new PrivateNetwork(name, prefix).remove();
    await dockerode.createNetwork({ Name: name, Driver: "bridge", IPAM: { Config: [{ Subnet: `${prefix}.0/24` }] } });
    return new PrivateNetwork(name, prefix);
  }

  address(host: number): string {
    return `${this.#prefix}.${host}`;
  }

  /** Removes the network and every container that belongs to it, also those that it is disconnected from or not running. */
  async remove(): Promise<void> {
    const { dockerode } = (await getContainerRuntimeClient()).container;
    const members = await dockerode.listContainers({ all: true, filters: { label: [`${networkLabel}=${this.name}`] } });
    await Promise.all(members.map(({ Id }) => dockerode.getContainer(Id).remove({ force: true, v: true })));
    await dockerode.getNetwork(this.name).remove();
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
