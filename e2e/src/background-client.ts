import { resolve } from "node:path";
import { GenericContainer, getContainerRuntimeClient, type StartedTestContainer, Wait } from "testcontainers";
import type { Credentials } from "./cluster.ts";
import { keelsonImage } from "./images.ts";
import type { Node } from "./node.ts";
import { History } from "./observer/history.ts";
import type { Observation } from "./observer/observation.ts";
import { networkLabel } from "./private-network.ts";

const finishTimeoutMs = 40_000;

/** The background client of a suite, in the network of one agent: what it reaches, a pod's host would reach. */
export class BackgroundClient {
  readonly history = new History();
  readonly #container: StartedTestContainer;
  #rest = "";
  #isRunning = true;
  #finished: () => void = () => {};
  readonly #done = new Promise<void>((resolve) => {
    this.#finished = resolve;
  });

  private constructor(container: StartedTestContainer) {
    this.#container = container;
  }

  /** Starts writing and watching through the agent's load balancer on `port`. */
  static async start(agent: Node, credentials: Credentials, port = 6444): Promise<BackgroundClient> {
    const container = await new GenericContainer(keelsonImage)
      .withNetworkMode(`container:${agent.id}`)
      .withLabels({ [networkLabel]: agent.networkName })
      .withCopyDirectoriesToContainer([{ source: resolve(import.meta.dirname, "observer"), target: "/tmp/observer" }])
      .withEnvironment({
        SERVER: `https://127.0.0.1:${port}`,
        CA: credentials.ca,
        CERT: credentials.cert,
        KEY: credentials.key,
      })
      .withEntrypoint(["node", "/tmp/observer/client.ts"])
      // Its first line; the image's own health check asks for a part, which this is not.
      .withWaitStrategy(Wait.forLogMessage(/./))
      .start();
    const client = new BackgroundClient(container);
    const stream = await container.logs();
    stream.on("data", (chunk: Buffer | string) => client.#read(String(chunk)));
    stream.on("end", () => {
      client.#isRunning = false;
      client.#finished();
    });
    return client;
  }

  /** Resolves once `count` more writes were acknowledged; rejects after `timeoutMs`. */
  async acknowledgements(count: number, timeoutMs = 60_000): Promise<void> {
    const wanted = this.history.acknowledgements + count;
    const deadline = Date.now() + timeoutMs;
    while (this.history.acknowledgements < wanted) {
      if (!this.#isRunning) throw new Error("the background client has ended; its last words are above");
      if (Date.now() > deadline) {
        const reasons = this.history
          .refusals(Date.now() - 5_000, Date.now())
          .slice(0, 3)
          .join("; ");
        throw new Error(
          `no ${count} writes were acknowledged within ${timeoutMs} ms: ${reasons || "no answer at all"}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Lets it finish: stop writing, see the last events, list everything. */
  async finish(): Promise<History> {
    const { dockerode } = (await getContainerRuntimeClient()).container;
    await dockerode.getContainer(this.#container.getId()).kill({ signal: "SIGTERM" });
    const timeout = new Promise<void>((_, reject) => {
      setTimeout(() => reject(new Error("the background client did not finish")), finishTimeoutMs).unref();
    });
    await Promise.race([this.#done, timeout]);
    return this.history;
  }

  async remove(): Promise<void> {
    const { dockerode } = (await getContainerRuntimeClient()).container;
    await dockerode.getContainer(this.#container.getId()).remove({ force: true, v: true });
  }

  #read(chunk: string): void {
    const lines = (this.#rest + chunk).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith("{")) this.history.add(JSON.parse(line) as Observation);
      else if (line.trim() !== "") console.warn(`background client: ${line}`);
    }
  }
}
