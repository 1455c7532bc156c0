import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { Wait } from "testcontainers";
import { keelsonImage, serviceImages } from "./images.ts";
import { Node } from "./node.ts";
import { NetworkedContainer, PrivateNetwork } from "./private-network.ts";

const dataDir = "/var/lib/keelson";
const token = "end-to-end-secret";
const certificatesDir = "/run/keelson-datastore";

/** Where each role lives in a private network; several of a role follow each other. */
const hosts = {
  balancer: 2,
  server: 11,
  database: 30,
  redis: 39,
  agent: 51,
  datastore: 61,
  registration: 65,
  "kube-api": 69,
} as const;

/** What every command says when it serves: heard at once, where the image's health check asks only every few seconds. */
const hasStarted = Wait.forLogMessage(/INFO +\S+: started\s*$/).withStartupTimeout(90_000);

export interface Credentials {
  ca: string;
  cert: string;
  key: string;
}

/** A cluster of containers that grows by the steps of its topology; `remove` takes all of it away. */
export class Cluster {
  readonly network: PrivateNetwork;
  readonly nodes = new Map<string, Node>();

  private constructor(network: PrivateNetwork) {
    this.network = network;
  }

  static async create(name: string, networkIndex: number): Promise<Cluster> {
    return new Cluster(await PrivateNetwork.create(`keelson-e2e-${name}`, networkIndex));
  }

  node(name: string): Node {
    const node = this.nodes.get(name);
    if (node === undefined) throw new Error(`there is no ${name}; there are ${[...this.nodes.keys()].join(", ")}`);
    return node;
  }

  get balancerAddress(): string {
    return this.network.address(hosts.balancer);
  }

  /** The fixed registration address in front of `count` servers, which may come later. */
  async addBalancer(count: number): Promise<Node> {
    const servers = Array.from({ length: count }, (_, index) => {
      return `  server server-${index + 1} ${this.network.address(hosts.server + index)}:6443`;
    });
    const config = `global
defaults
  mode tcp
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  timeout check 3s
  option redispatch 1
listen registration
  bind :6443
  option httpchk GET /ping
  default-server check check-ssl verify none inter 1s fall 3 rise 1 on-marked-down shutdown-sessions observe layer4 error-limit 1 on-error mark-down
${servers.join("\n")}
`;
    const spec = this.#spec(serviceImages.haproxy, hosts.balancer, "balancer").withCopyContentToContainer([
      { content: config, target: "/usr/local/etc/haproxy/haproxy.cfg" },
    ]);
    return this.#start("balancer", hosts.balancer, spec);
  }

  /** A `keelson server`, without an agent of its own unless `flags` say so; they also say which datastore it has. Waits until it serves. */
  async addServer(index: number, flags: readonly string[]): Promise<Node> {
    const name = `server-${index}`;
    const host = hosts.server + index - 1;
    const spec = this.#spec(keelsonImage, host, name)
      .withEnvironment({ K3S_TOKEN: token })
      .withCommand([
        "server",
        ...["--node-name", name, "--tls-san", this.balancerAddress, "--disable-agent"],
        ...["--advertise-address", this.network.address(host), "--node-ip", this.network.address(host)],
        ...flags,
      ])
      .withWaitStrategy(hasStarted);
    return this.#start(name, host, spec);
  }

  /** A `keelson agent` that joins at the fixed registration address, and waits until it has unless told otherwise. */
  async addAgent(index: number, options: { secret?: string; nodeName?: string; until?: RegExp } = {}): Promise<Node> {
    const name = `agent-${index}`;
    const host = hosts.agent + index - 1;
    const { secret = token, nodeName = name, until } = options;
    const spec = this.#spec(keelsonImage, host, name)
      .withEnvironment({ K3S_TOKEN: secret, KEELSON_HEALTH_URL: "https://127.0.0.1:6444/ping" })
      .withCommand([
        ...["agent", "--server", `https://${this.balancerAddress}:6443`],
        ...["--node-name", nodeName, "--node-ip", this.network.address(host)],
      ])
      .withWaitStrategy(until === undefined ? hasStarted : Wait.forLogMessage(until).withStartupTimeout(60_000));
    return this.#start(name, host, spec);
  }

  /**
   * Runs one command of the image with the data and the address of a stopped node and the cluster's token, as an operator
   * would on its host. Throws with the log when it fails.
   */
  async runInPlaceOf(node: Node, entrypoint: readonly string[], command: readonly string[]): Promise<void> {
    const host = Number(node.address.split(".").at(-1));
    const spec = this.#spec(keelsonImage, host, node.name)
      .withVolumesOf(node.id)
      .withEntrypoint([...entrypoint])
      .withCommand([...command])
      .withEnvironment({ K3S_TOKEN: token, KEELSON_HEALTH_URL: "http://127.0.0.1:1/" })
      .withWaitStrategy(Wait.forOneShotStartup());
    const runner = await Node.start(`${node.name}-operator`, host, this.network, spec);
    await runner.remove();
  }

  async addPostgres(): Promise<{ node: Node; endpoint: string }> {
    const spec = this.#spec(serviceImages.postgres, hosts.database, "database")
      .withEnvironment({ POSTGRES_USER: "keelson", POSTGRES_PASSWORD: "postgres-secret", POSTGRES_DB: "kubernetes" })
      .withWaitStrategy(Wait.forLogMessage(/ready to accept connections/));
    const node = await this.#start("database", hosts.database, spec);
    return { node, endpoint: `postgres://keelson:postgres-secret@${node.address}:5432/kubernetes?sslmode=disable` };
  }

  async addMariadb(): Promise<{ node: Node; endpoint: string }> {
    const spec = this.#spec(serviceImages.mariadb, hosts.database, "database")
      .withEnvironment({ MARIADB_ROOT_PASSWORD: "mariadb-secret", MARIADB_DATABASE: "kubernetes" })
      .withWaitStrategy(Wait.forLogMessage(/port: 3306/));
    const node = await this.#start("database", hosts.database, spec);
    return { node, endpoint: `mysql://root:mariadb-secret@tcp(${node.address}:3306)/kubernetes` };
  }

  /** Three plain etcd members from the same image, without certificates. */
  async addEtcd(): Promise<{ nodes: Node[]; endpoint: string }> {
    const members = [0, 1, 2].map((index) => ({
      name: `etcd-${index + 1}`,
      host: hosts.database + index,
      address: this.network.address(hosts.database + index),
    }));
    const initial = members.map(({ name, address }) => `${name}=http://${address}:2380`).join(",");
    const nodes = await Promise.all(
      members.map(({ name, host, address }) => {
        const spec = this.#spec(keelsonImage, host, name)
          .withEntrypoint(["etcd"])
          .withCommand([
            ...["--name", name, "--data-dir", `${dataDir}/etcd`, "--initial-cluster", initial],
            ...["--listen-client-urls", "http://0.0.0.0:2379", "--advertise-client-urls", `http://${address}:2379`],
            ...["--listen-peer-urls", "http://0.0.0.0:2380", "--initial-advertise-peer-urls", `http://${address}:2380`],
          ])
          .withWaitStrategy(Wait.forLogMessage(/ready to serve client requests/));
        return this.#start(name, host, spec);
      }),
    );
    return { nodes, endpoint: members.map(({ address }) => `http://${address}:2379`).join(",") };
  }

  async addRedis(): Promise<{ node: Node; url: string }> {
    const spec = this.#spec(serviceImages.redis, hosts.redis, "redis").withWaitStrategy(
      Wait.forLogMessage(/Ready to accept connections/),
    );
    const node = await this.#start("redis", hosts.redis, spec);
    return { node, url: `redis://${node.address}:6379` };
  }

  /**
   * The parts of a server scaled apart, two of each but the gateway: `gateways` of them, at the servers' addresses. One
   * name stands for all of a role, as a container platform does it.
   */
  async addParts(gateways: number): Promise<void> {
    const [{ endpoint }, { url: redis }] = await Promise.all([this.addPostgres(), this.addRedis()]);
    const two = [1, 2];
    const certificates = await datastoreCertificates();
    await Promise.all(
      two.map((index) =>
        this.#addPart(
          "datastore",
          index,
          "http://127.0.0.1:2381/health",
          { KEELSON_DATASTORE_ENDPOINT: endpoint },
          [
            ...["--listen-address=https://0.0.0.0:2379", "--listen-address=http://127.0.0.1:2381"],
            ...[`--server-cert-file=${certificatesDir}/server.crt`, `--server-key-file=${certificatesDir}/server.key`],
            `--trusted-ca-file=${certificatesDir}/ca.crt`,
          ],
          certificates,
        ),
      ),
    );
    const datastoreFlags = (prefix: string): string[] => [
      `--${prefix}-cafile=${certificatesDir}/ca.crt`,
      `--${prefix}-certfile=${certificatesDir}/client.crt`,
      `--${prefix}-keyfile=${certificatesDir}/client.key`,
    ];
    await Promise.all(
      two.map((index) =>
        this.#addPart(
          "registration",
          index,
          "https://127.0.0.1:6445/cacerts",
          { K3S_TOKEN: token },
          [
            "--listen=0.0.0.0:6445",
            ...["--datastore-endpoint=https://datastore:2379", ...datastoreFlags("datastore")],
            "--kube-api=https://kube-api:6444",
            "--tls-san=registration",
            `--tls-san=${this.balancerAddress}`,
          ],
          certificates,
        ),
      ),
    );
    const enrolment = {
      K3S_TOKEN: (await this.node("registration-1").exec("cat", `${dataDir}/server/token`)).trim(),
      KEELSON_REGISTRATION: "https://registration:6445",
    };
    const gatewayIndexes = Array.from({ length: gateways }, (_, index) => index + 1);
    await Promise.all([
      ...two.map((index) =>
        this.#addPart(
          "kube-api",
          index,
          "https://127.0.0.1:6444/readyz",
          enrolment,
          [
            ...["--etcd-servers=https://datastore:2379", ...datastoreFlags("etcd")],
            `--gateway-url=https://${this.balancerAddress}:6443`,
            `--advertise-address=${this.balancerAddress}`,
          ],
          certificates,
        ),
      ),
      ...gatewayIndexes.map((index) =>
        this.#addPart("gateway", index, "http://127.0.0.1:9443/readyz", enrolment, [
          "--kube-api=https://kube-api:6444",
          `--redis=${redis}`,
          "--ops-listen=127.0.0.1:9443",
        ]),
      ),
    ]);
  }

  /** The administrator's client certificate, from a node that holds the cluster's certificates. */
  async adminCredentials(): Promise<Credentials> {
    const holder = this.nodes.get("server-1") ?? this.node("registration-1");
    const read = (file: string): Promise<string> => holder.exec("cat", `${dataDir}/server/tls/${file}`);
    return {
      ca: await read("server-ca.crt"),
      cert: await read("client-admin.crt"),
      key: await read("client-admin.key"),
    };
  }

  /** The last words of every node, for the report of a failure. */
  async printLogs(): Promise<void> {
    for (const node of this.nodes.values()) console.log(`--- ${node.name}\n${await node.logTail(25)}`);
  }

  async remove(): Promise<void> {
    await this.network.remove();
  }

  async #addPart(
    part: "datastore" | "registration" | "kube-api" | "gateway",
    index: number,
    healthUrl: string,
    environment: Readonly<Record<string, string>>,
    flags: readonly string[],
    files: readonly CopiedFile[] = [],
  ): Promise<void> {
    const name = `${part}-${index}`;
    // Gateways stand where servers do, so that the balancer finds them.
    const host = (part === "gateway" ? hosts.server : hosts[part]) + index - 1;
    const spec = new NetworkedContainer(keelsonImage, this.network, host, [name, part])
      .withEnvironment({ ...environment, KEELSON_HEALTH_URL: healthUrl })
      .withCommand([part, ...flags])
      .withCopyContentToContainer([...files])
      .withWaitStrategy(hasStarted);
    await this.#start(name, host, spec);
  }

  #spec(image: string, host: number, name: string): NetworkedContainer {
    return new NetworkedContainer(image, this.network, host, [name]);
  }

  async #start(name: string, host: number, spec: Parameters<typeof Node.start>[3]): Promise<Node> {
    const node = await Node.start(name, host, this.network, spec);
    this.nodes.set(name, node);
    return node;
  }
}

interface CopiedFile {
  content: Buffer;
  target: string;
}

/** What the datastore and its clients show each other, made as docker-compose.yml makes it. */
async function datastoreCertificates(): Promise<CopiedFile[]> {
  const directory = await mkdtemp(join(tmpdir(), "keelson-e2e-"));
  try {
    const script = resolve(import.meta.dirname, "../../deploy/image/datastore-certificates.js");
    await promisify(execFile)(process.execPath, [script, directory, "datastore"]);
    const names = await readdir(directory);
    return await Promise.all(
      names.map(async (name) => ({
        content: await readFile(join(directory, name)),
        target: `${certificatesDir}/${name}`,
      })),
    );
  } finally {
    await rm(directory, { recursive: true });
  }
}
