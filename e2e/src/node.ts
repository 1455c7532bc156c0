import { getContainerRuntimeClient, type StartedTestContainer } from "testcontainers";
import type { NetworkedContainer, PrivateNetwork } from "./private-network.ts";

/** A running container as an operator and as bad luck see it. */
export class Node {
  readonly name: string;
  readonly address: string;
  readonly #network: PrivateNetwork;
  readonly #container: StartedTestContainer;
  /** Its names in the network. */
  readonly #names: string[];

  private constructor(
    name: string,
    address: string,
    network: PrivateNetwork,
    container: StartedTestContainer,
    names: readonly string[],
  ) {
    this.name = name;
    this.address = address;
    this.#network = network;
    this.#container = container;
    this.#names = [...names];
  }

  /** The engine's id of the container. */
  get id(): string {
    return this.#container.getId();
  }

  get networkName(): string {
    return this.#network.name;
  }

  static async start(name: string, host: number, network: PrivateNetwork, spec: NetworkedContainer): Promise<Node> {
    return new Node(name, network.address(host), network, await spec.start(), spec.names);
  }

  /** Runs a command inside; throws with its output when it fails. */
  async exec(...command: string[]): Promise<string> {
    const { exitCode, output } = await this.#container.exec(command);
    if (exitCode !== 0) throw new Error(`${this.name}: ${command.join(" ")} ended with ${exitCode}: ${output}`);
    return output;
  }

  /** Whether a command inside succeeds. */
  async succeeds(...command: string[]): Promise<boolean> {
    return (await this.#container.exec(command)).exitCode === 0;
  }

  /** SIGKILL to every process at once, as a machine that loses power. */
  async kill(): Promise<void> {
    await (await this.#handle()).kill();
  }

  /** Starts a killed or stopped container again, with its data. */
  async start(): Promise<void> {
    await (await this.#handle()).start();
  }

  /** SIGTERM, and time to end in order. */
  async shutDown(): Promise<void> {
    await (await this.#handle()).stop({ t: 20 });
  }

  /** Freezes every process: connections stay open and nothing answers. */
  async pause(): Promise<void> {
    const container = await this.#handle();
    for (let attempt = 1; ; attempt++) {
      try {
        await container.pause();
        return;
      } catch (error) {
        // The kernel's freezer gives up when a process is in the middle of being made, as by a health check.
        if (attempt === 5 || !String(error).includes("unable to freeze")) throw error;
      }
    }
  }

  async unpause(): Promise<void> {
    await (await this.#handle()).unpause();
  }

  /** Pulls the network cable. */
  async disconnect(): Promise<void> {
    const { dockerode } = (await getContainerRuntimeClient()).container;
    await dockerode.getNetwork(this.#network.name).disconnect({ Container: this.#container.getId(), Force: true });
  }

  async connect(): Promise<void> {
    const { dockerode } = (await getContainerRuntimeClient()).container;
    await dockerode.getNetwork(this.#network.name).connect({
      Container: this.#container.getId(),
      EndpointConfig: { IPAMConfig: { IPv4Address: this.address }, Aliases: this.#names },
    });
  }

  /** How often the engine has started it again by itself; and whether it runs. */
  async state(): Promise<{ running: boolean; startedAt: string }> {
    const { State } = await (await this.#handle()).inspect();
    return { running: State.Running && !State.Paused, startedAt: State.StartedAt };
  }

  /** Resolves when the part inside says that it is healthy; rejects after `timeoutMs`. */
  async whenHealthy(timeoutMs = 60_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const { State } = await (await this.#handle()).inspect();
      if (State.Health?.Status === "healthy") return;
      if (Date.now() > deadline) throw new Error(`${this.name} is not healthy after ${timeoutMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }

  /** The last lines of its log, for the report of a failure. */
  async logTail(lines = 30): Promise<string> {
    const output = await (await this.#handle()).logs({ stdout: true, stderr: true, tail: lines });
    let text = "";
    // Frames of the engine's log stream: stream number, three zero bytes, length, content.
    for (let at = 0; at + 8 <= output.length; ) {
      const end = at + 8 + output.readUInt32BE(at + 4);
      text += output.toString("utf8", at + 8, end);
      at = end;
    }
    return text;
  }

  async remove(): Promise<void> {
    await (await this.#handle()).remove({ force: true, v: true });
  }

  async #handle() {
    const { dockerode } = (await getContainerRuntimeClient()).container;
    return dockerode.getContainer(this.#container.getId());
  }
}
