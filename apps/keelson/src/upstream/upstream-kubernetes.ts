import { createKubeClient, type KubeClientOptions } from "@keelson/kube-client";
import {
  componentArguments,
  type Dependencies,
  KeelsonError,
  Lifecycle,
  type Service,
  SupervisedChild,
  writeFileAtomic,
} from "@keelson/service";
import {
  apiserverFlags,
  controllerManagerFlags,
  egressSelectorConfig,
  schedulerFlags,
  type UpstreamFacts,
} from "./arguments.ts";

export interface UpstreamPrograms {
  apiserver: { path: string; args: readonly string[] };
  controllerManager: { path: string; args: readonly string[] } | undefined;
  scheduler: { path: string; args: readonly string[] } | undefined;
}

/** kube-apiserver makes caches of every resource before it is ready. */
const startTimeoutMs = 120_000;

/** Upstream kube-apiserver, and beside it controller-manager and scheduler: started with our files, kept running. */
export class UpstreamKubernetes implements Service {
  readonly #programs: UpstreamPrograms;
  readonly #facts: UpstreamFacts;
  readonly #gatewayUrl: string;
  readonly #client: () => Promise<KubeClientOptions>;
  readonly #runDirectory: string;
  readonly #deps: Dependencies;
  readonly #lifecycle: Lifecycle;

  /** `client` is asked for credentials with which readiness is read; the programs run in `runDirectory`, which holds their process ids. */
  constructor(
    options: {
      programs: UpstreamPrograms;
      facts: UpstreamFacts;
      gatewayUrl: string;
      client: () => Promise<KubeClientOptions>;
      runDirectory: string;
    },
    deps: Dependencies,
  ) {
    this.#programs = options.programs;
    this.#facts = options.facts;
    this.#gatewayUrl = options.gatewayUrl;
    this.#client = options.client;
    this.#runDirectory = options.runDirectory;
    this.#deps = deps;
    this.#lifecycle = new Lifecycle(deps.log);
  }

  async start(): Promise<void> {
    const { egressConfigFile } = this.#facts;
    if (egressConfigFile !== undefined) {
      await writeFileAtomic(egressConfigFile, egressSelectorConfig(this.#facts, this.#gatewayUrl), 0o600);
    }
    const { apiserver, controllerManager, scheduler } = this.#programs;
    const client = createKubeClient(await this.#client());
    this.#lifecycle.onStop("readiness client", () => client.close());
    const ready = async (): Promise<void> => {
      await client.raw("GET", "/readyz");
    };
    await this.#run(
      "kube-apiserver",
      apiserver.path,
      componentArguments(apiserverFlags(this.#facts), apiserver.args),
      ready,
    );
    if (controllerManager !== undefined) {
      const flags = componentArguments(controllerManagerFlags(this.#facts), controllerManager.args);
      await this.#run("kube-controller-manager", controllerManager.path, flags);
    }
    if (scheduler !== undefined) {
      await this.#run(
        "kube-scheduler",
        scheduler.path,
        componentArguments(schedulerFlags(this.#facts), scheduler.args),
      );
    }
  }

  stop(): Promise<void> {
    return this.#lifecycle.stop();
  }

  async #run(name: string, command: string, args: readonly string[], ready?: () => Promise<void>): Promise<void> {
    const pidFile = `${this.#runDirectory}/${name}.pid`;
    const cwd = this.#runDirectory;
    const options = { name, command, args, cwd, pidFile, startTimeoutMs, ...(ready === undefined ? {} : { ready }) };
    try {
      await this.#lifecycle.run(name, new SupervisedChild(options, this.#deps));
    } catch (cause) {
      throw new KeelsonError("upstream/start", `${name} does not come up`, {
        cause,
        hint: `its log is above; check --${name}-path and --${name}-arg`,
      });
    }
  }
}
