import { access, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, http, KeelsonError, type Logger, type Service, SupervisedChild } from "@keelson/service";
import type { AgentLayout } from "../layout.ts";

/** Where a distribution's containerd listens. */
const systemContainerd = "/run/containerd/containerd.sock";
const healthzPort = 10_248;
/** A node without a kubelet is of no use, so it is started again and again; only a missing program ends the attempts. */
const patienceMs = 2 ** 31 - 1;

export interface NodeRuntimeInput {
  kubeletPath: string;
  kubeletArguments: (runtimeEndpoint: string) => readonly string[];
  /** `--container-runtime-endpoint`; left out, the host's containerd is used, or one is started. */
  runtimeEndpoint: string | undefined;
  layout: AgentLayout;
}

/** The kubelet of this node, and containerd where the host runs none: started in order, restarted when they end. */
export class NodeRuntime implements Service {
  readonly #input: NodeRuntimeInput;
  readonly #deps: { log: Logger; clock: Clock };
  #containerd: SupervisedChild | undefined;
  #kubelet: SupervisedChild | undefined;

  constructor(input: NodeRuntimeInput, deps: { log: Logger; clock: Clock }) {
    this.#input = input;
    this.#deps = deps;
  }

  get running(): boolean {
    return this.#kubelet?.state === "ready";
  }

  get restarts(): number {
    return this.#kubelet?.restarts ?? 0;
  }

  async start(): Promise<void> {
    const { layout, kubeletPath, kubeletArguments } = this.#input;
    await mkdir(layout.podManifests, { recursive: true, mode: 0o755 });
    const endpoint = await this.#runtimeEndpoint();
    this.#kubelet = new SupervisedChild(
      {
        name: "kubelet",
        command: kubeletPath,
        args: () => kubeletArguments(endpoint),
        pidFile: join(layout.root, "kubelet.pid"),
        ready: kubeletHealthy,
        startTimeoutMs: patienceMs,
      },
      this.#deps,
    );
    await this.#kubelet.start();
  }

  /** Starts the kubelet again, with its current files: it reads its serving certificate only once. */
  async restart(): Promise<void> {
    await this.#kubelet?.restart();
  }

  async stop(): Promise<void> {
    await this.#kubelet?.stop();
    await this.#containerd?.stop();
  }

  async #runtimeEndpoint(): Promise<string> {
    const { runtimeEndpoint, layout } = this.#input;
    if (runtimeEndpoint !== undefined) {
      return runtimeEndpoint.startsWith("/") ? `unix://${runtimeEndpoint}` : runtimeEndpoint;
    }
    if (await exists(systemContainerd)) return `unix://${systemContainerd}`;
    const root = join(layout.root, "containerd");
    const socket = join(root, "containerd.sock");
    this.#containerd = new SupervisedChild(
      {
        name: "containerd",
        command: "containerd",
        args: ["--address", socket, "--root", join(root, "root"), "--state", join(root, "state")],
        pidFile: join(layout.root, "containerd.pid"),
        startTimeoutMs: patienceMs,
        ready: async () => {
          if (!(await exists(socket))) throw new KeelsonError("containerd/starting", "containerd does not listen yet");
        },
      },
      this.#deps,
    );
    await mkdir(root, { recursive: true, mode: 0o711 });
    await this.#containerd.start();
    return `unix://${socket}`;
  }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function kubeletHealthy(signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const req = http.request(
      { host: "127.0.0.1", port: healthzPort, path: "/healthz", agent: false, signal },
      (res) => {
        res.resume();
        if (res.statusCode === 200) resolve();
        else reject(new KeelsonError("kubelet/unhealthy", `kubelet healthz answered ${res.statusCode}`));
      },
    );
    req.on("error", reject);
    req.end();
  });
}
