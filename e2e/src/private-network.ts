import { GenericContainer, getContainerRuntimeClient } from "testcontainers";

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
    for (const stale of await dockerode.listNetworks({ filters: { name: [`^${name}$`] } })) {
      await dockerode.getNetwork(stale.Id).remove();
    }
    await dockerode.createNetwork({ Name: name, Driver: "bridge", IPAM: { Config: [{ Subnet: `${prefix}.0/24` }] } });
    return new PrivateNetwork(name, prefix);
  }

  address(host: number): string {
    return `${this.#prefix}.${host}`;
  }

  async remove(): Promise<void> {
    const { dockerode } = (await getContainerRuntimeClient()).container;
    await dockerode.getNetwork(this.name).remove();
  }
}

/** A container with a name and an address of its own in a private network. */
export class NetworkedContainer extends GenericContainer {
  readonly #network: PrivateNetwork;
  readonly #host: number;
  readonly #alias: string;

  constructor(image: string, network: PrivateNetwork, host: number, alias: string) {
    super(image);
    this.#network = network;
    this.#host = host;
    this.#alias = alias;
    this.withNetworkMode(network.name);
  }

  protected override async beforeContainerCreated(): Promise<void> {
    this.createOpts.Hostname = this.#alias;
    this.createOpts.NetworkingConfig = {
      EndpointsConfig: {
        [this.#network.name]: {
          IPAMConfig: { IPv4Address: this.#network.address(this.#host) },
          Aliases: [this.#alias],
        },
      },
    };
  }
}
