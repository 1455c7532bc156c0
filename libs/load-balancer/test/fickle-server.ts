import { type AddressInfo, createServer, type Server, type Socket } from "node:net";

/** How a {@link FickleServer} treats whoever comes. `silent` accepts and then says nothing, as a stopped process does. */
export type Mood = "ok" | "slow" | "silent" | "reset" | "refuse";

const slowMs = 30;

/** A TCP server that answers each line `ping` with its name, or misbehaves in the way a test asks for. */
export class FickleServer {
  readonly name: string;
  mood: Mood = "ok";
  #server: Server;
  #port = 0;
  readonly #sockets = new Set<Socket>();

  constructor(name: string) {
    this.name = name;
    this.#server = this.#create();
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get connections(): number {
    // A socket that is reset while it closes may never say "close"; destroyed is destroyed.
    return [...this.#sockets].filter(({ destroyed }) => !destroyed).length;
  }

  get healthy(): boolean {
    return this.mood === "ok" || this.mood === "slow";
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Changes how it behaves. Refusing closes the listener and every connection, as a killed process does. */
  async become(mood: Mood): Promise<void> {
    const before = this.mood;
    this.mood = mood;
    if (mood === "refuse" && before !== "refuse") {
      const closed = new Promise((resolve) => this.#server.close(resolve));
      for (const socket of this.#sockets) socket.resetAndDestroy();
      await closed;
    } else if (mood !== "refuse" && before === "refuse") {
      this.#server = this.#create();
      await this.start();
    }
  }

  async stop(): Promise<void> {
    await this.become("refuse");
  }

  #create(): Server {
    return createServer((socket) => {
      for (const old of this.#sockets) if (old.destroyed) this.#sockets.delete(old);
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      socket.on("error", () => {});
      if (this.mood === "reset") return void socket.resetAndDestroy();
      socket.on("data", () => {
        if (this.mood === "ok") socket.write(`${this.name}\n`);
        else if (this.mood === "slow") setTimeout(() => socket.writable && socket.write(`${this.name}\n`), slowMs);
        else if (this.mood === "reset") socket.resetAndDestroy();
      });
    });
  }
}
