import { access, constants, mkdir, readFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { defineOptions, KeelsonError, readFileIfExists } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import type { Step } from "../steps.ts";
import { startBalancer } from "./balancer.ts";
import { PartProcess } from "./part-process.ts";
import { type DevPlan, type PlannedProcess, planDev } from "./plan.ts";
import { Progress } from "./progress.ts";

export const devCommand = defineCommand({
  options: defineOptions({
    servers: { type: "number", default: 1, help: "How many servers" },
    agents: { type: "number", default: 1, help: "How many agents" },
    "data-dir": {
      type: "string",
      short: "d",
      default: ".keelson",
      placeholder: "dir",
      help: "Where the cluster lives",
    },
    "datastore-endpoint": {
      type: "string",
      env: "K3S_DATASTORE_ENDPOINT",
      placeholder: "url",
      secret: true,
      help: "External database (sqlite for one server, embedded etcd for several)",
    },
    "https-listen-port": {
      type: "number",
      default: 6443,
      placeholder: "port",
      help: "Port of the registration address",
    },
    "lb-server-port": {
      type: "number",
      default: 6444,
      placeholder: "port",
      help: "Load balancer port of the first agent",
    },
    "datastore-listen-port": { type: "number", default: 2379, placeholder: "port", help: "Port of the etcd API" },
  }),
  async run({ options }) {
    const dataDir = resolve(options["data-dir"]);
    const plan = planDev({
      servers: options.servers,
      agents: options.agents,
      dataDir,
      httpsPort: options["https-listen-port"],
      lbPort: options["lb-server-port"],
      datastorePort: options["datastore-listen-port"],
      datastoreEndpoint: options["datastore-endpoint"],
    });
    await ensureWritable(dataDir);
    return new LocalCluster(plan).run();
  },
});

async function ensureWritable(directory: string): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await access(directory, constants.W_OK);
  } catch (error) {
    throw new KeelsonError("dev/unwritable", `cannot write to ${directory}`, {
      hint: "choose another folder with --data-dir",
      cause: error,
    });
  }
}

/** The running local cluster: starts the parts in order, shows them come up, and stops them in reverse. */
class LocalCluster {
  readonly #plan: DevPlan;
  readonly #parts: PartProcess[] = [];
  readonly #progress: Progress;
  #stopping = false;

  constructor(plan: DevPlan) {
    this.#plan = plan;
    this.#progress = new Progress({
      write: (text) => process.stdout.write(text),
      showNames: plan.servers.length + plan.agents.length > 2,
    });
  }

  async run(): Promise<number> {
    const interrupted = new Promise<void>((done) => {
      process.once("SIGINT", () => done());
      process.once("SIGTERM", () => done());
    });
    const plan = this.#plan;
    this.#progress.line(`Keelson: ${count(plan.servers, "server")}, ${count(plan.agents, "agent")} on this machine`);
    this.#progress.line();
    const balancer = plan.needsBalancer
      ? await startBalancer(
          plan.registrationAddress,
          plan.servers.map((server) => server.address),
        )
      : undefined;
    try {
      const started = this.#startAll();
      const first = await Promise.race([started.then(() => "up" as const), interrupted.then(() => "stop" as const)]);
      if (first === "up") {
        this.#printNextSteps();
        await Promise.race([interrupted, this.#firstFailure()]);
      } else {
        started.catch(() => {}); // stopping the parts makes the start fail, which is what was asked for
      }
      this.#progress.line();
      this.#progress.line("Stopping; the next start resumes this cluster.");
      return 0;
    } finally {
      this.#stopping = true;
      for (const part of this.#parts.reverse()) await part.stop();
      await balancer?.stop();
    }
  }

  async #startAll(): Promise<void> {
    const [firstServer, ...otherServers] = this.#plan.servers;
    const tokenFile = join(firstServer!.dataDir, "server", "token");
    // A new cluster must be there before others join it. Servers that resume need each other: one alone has no quorum.
    const resumed = (await readFileIfExists(tokenFile)) !== undefined;
    const servers = [await this.#start(firstServer!, {})];
    if (!resumed) await servers[0]!.reached("ready");
    const secrets = { K3S_TOKEN: (await readFile(tokenFile, "utf8")).trim() };
    for (const plan of otherServers) {
      const server = await this.#start(plan, secrets);
      servers.push(server);
      if (!resumed) await server.reached("ready");
    }
    await Promise.all(servers.map((server) => server.reached("ready")));
    const agents = await Promise.all(this.#plan.agents.map((agent) => this.#start(agent, secrets)));
    await Promise.all(agents.map((agent) => agent.reached("node")));
  }

  async #start(plan: PlannedProcess, secrets: Record<string, string>): Promise<PartProcess> {
    const onStep = (step: Step, detail: string): void => this.#progress.step(plan.name, step, detail);
    const part = await PartProcess.start(plan, secrets, onStep);
    this.#parts.push(part);
    return part;
  }

  /** A part that ends by itself ends the cluster, unless others can carry on: losing one of several is the point. */
  async #firstFailure(): Promise<never> {
    const single = this.#plan.servers.length === 1;
    return new Promise((_, reject) => {
      for (const part of this.#parts) {
        void part.ended.then(({ code, signal }) => {
          if (this.#stopping) return;
          if (single) reject(part.failure(code, signal));
          else this.#progress.line(`  ${part.failure(code, signal).message}`);
        });
      }
    });
  }

  #printNextSteps(): void {
    const line = (text = ""): void => this.#progress.line(text);
    const { kubeconfig, servers, agents } = this.#plan;
    const inside = relative(process.cwd(), servers[0]!.dataDir);
    const tls = join(inside.startsWith("..") ? servers[0]!.dataDir : inside, "server", "tls", "etcd");
    line();
    line(`The cluster is up after ${this.#progress.elapsedSeconds} s. In another terminal:`);
    line();
    line(`  export KUBECONFIG=${kubeconfig}`);
    line("  kubectl get nodes -o wide");
    line("  kubectl create configmap hello --from-literal=from=keelson");
    line("  kubectl get configmap hello -o yaml --watch");
    for (const agent of agents.slice(0, 1)) {
      line(`  kubectl --server https://${agent.lbAddress} get nodes      (through ${agent.name}'s load balancer)`);
    }
    line(`  etcdctl --endpoints https://${servers[0]!.datastoreAddress} --cacert ${tls}/server-ca.crt \\`);
    line(`    --cert ${tls}/client.crt --key ${tls}/client.key get --prefix /registry/ --keys-only`);
    line();
    line("Ctrl-C stops it.");
  }
}

function count(items: readonly unknown[], noun: string): string {
  return `${items.length} ${noun}${items.length === 1 ? "" : "s"}`;
}
