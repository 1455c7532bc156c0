import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { ServerProcess } from "@keelson/conformance";
import { parse } from "yaml";
import { type HostDatabase, startHostDatabase } from "./host-database.ts";
import { HostNetwork } from "./host-network.ts";

const run = promisify(execFile);
const keelson = resolve(import.meta.dirname, "../../../apps/keelson/bin/keelson.js");
const token = "agent-faults-secret";
const httpsPort = 6443;

/** One server or agent: a process on a host of its own. */
export interface HostNode {
  name: string;
  address: string;
  dataDir: string;
  process: ServerProcess;
}

export interface AdminCredentials {
  ca: string;
  cert: string;
  key: string;
}

/** Three servers on one PostgreSQL and two agents, real processes on hosts that are network namespaces of this machine. */
export class HostCluster {
  readonly network = new HostNetwork();
  readonly servers: HostNode[] = [];
  readonly agents: HostNode[] = [];
  readonly #children: ChildProcess[] = [];
  #directory = "";
  #database: HostDatabase | undefined;

  async start(): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), "keelson-hosts-"));
    await this.network.create();
    this.#database = await startHostDatabase(this.network, 2);
    for (const number of [11, 12, 13]) {
      const name = `server-${number - 10}`;
      const address = await this.network.addHost(name, number);
      const flags = [
        `--bind-address=${address}`,
        `--node-ip=${address}`,
        `--datastore-endpoint=${this.#database.endpoint}`,
        "--datastore-listen-address=",
        "--disable-agent",
      ];
      this.servers.push(this.#node("server", name, address, flags));
    }
    const [first, ...others] = this.servers;
    await first!.process.start();
    await Promise.all(others.map(({ process }) => process.start()));
    for (const number of [21, 22]) {
      const name = `agent-${number - 20}`;
      const address = await this.network.addHost(name, number);
      const servers = this.servers.slice(0, 2).map((server) => `--server=https://${server.address}:${httpsPort}`);
      const agent = this.#node("agent", name, address, [...servers, `--node-ip=${address}`, "--kubelet-path="]);
      this.agents.push(agent);
      await agent.process.start();
    }
  }

  serverAddress({ address }: HostNode): string {
    return `${address}:${httpsPort}`;
  }

  async adminCredentials(): Promise<AdminCredentials> {
    const path = join(this.servers[0]!.dataDir, "server", "cred", "keelson.yaml");
    const { clusters, users } = parse(await readFile(path, "utf8"));
    const decode = (data: string): string => Buffer.from(data, "base64").toString();
    const { "client-certificate-data": cert, "client-key-data": key } = users[0].user;
    return { ca: decode(clusters[0].cluster["certificate-authority-data"]), cert: decode(cert), key: decode(key) };
  }

  /** kubectl on the first agent's host, through its load balancer. */
  async kubectl(...args: string[]): Promise<string> {
    const kubeconfig = join(this.servers[0]!.dataDir, "server", "cred", "keelson.yaml");
    const flags = [`--kubeconfig=${kubeconfig}`, "--server=https://127.0.0.1:6444", "--request-timeout=10s"];
    const command = this.network.inside(this.agents[0]!.name, "kubectl", [...flags, ...args]);
    return (await run(command.file, command.args)).stdout;
  }

  /** Creates an object with kubectl. */
  async apply(object: object): Promise<void> {
    const file = join(this.#directory, "object.json");
    await writeFile(file, JSON.stringify(object));
    await this.kubectl("create", "-f", file);
  }

  /** What `keelson status` prints on a host. */
  async status({ dataDir }: HostNode, output = "text"): Promise<string> {
    try {
      const command = [process.execPath, keelson, "status", "--data-dir", dataDir, "--output", output];
      // Its start takes processor time, which the cluster that is measured on this machine must not miss.
      return (await run("nice", ["-n", "5", ...command])).stdout;
    } catch (error) {
      // Exit code 1 says that something is wrong, which is what is asked here.
      const { stdout } = error as { stdout?: string };
      if (stdout === undefined || stdout === "") throw error;
      return stdout;
    }
  }

  /** A Node program of ours on a host, each line of its output given to `onLine`. Ended with the cluster. */
  program(host: HostNode, script: string, args: string[], env: Record<string, string>, onLine: (line: string) => void) {
    const command = this.network.inside(host.name, process.execPath, [script, ...args]);
    const child = spawn(command.file, command.args, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#children.push(child);
    let rest = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) onLine(line);
    });
    return child;
  }

  async remove(): Promise<void> {
    for (const child of this.#children) child.kill("SIGKILL");
    await Promise.all([...this.agents, ...this.servers].map(({ process }) => process.kill()));
    await this.#database?.stop();
    await this.network.remove();
    await rm(this.#directory, { recursive: true, force: true });
  }

  #node(role: "server" | "agent", name: string, address: string, flags: string[]): HostNode {
    const dataDir = join(this.#directory, name);
    const common = [
      `--data-dir=${dataDir}`,
      `--node-name=${name}`,
      `--node-password-file=${join(dataDir, "password")}`,
      "--log-format=json",
    ];
    const process = new ServerProcess({
      name,
      ...this.network.inside(name, globalThis.process.execPath, [keelson, role, ...common, ...flags]),
      env: { K3S_TOKEN: token },
      ready: (output) => output.includes(role === "server" ? "supervisor gateway listens" : "agent started"),
    });
    return { name, address, dataDir, process };
  }
}
