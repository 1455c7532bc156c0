import { access, mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  type Clock,
  errorMessage,
  http,
  KeelsonError,
  type Logger,
  type Service,
  SupervisedChild,
  sleep,
} from "@keelson/service";
import type { AgentLayout } from "../layout.ts";
import { kubeletMinorVersion } from "./kubelet-version.ts";

/** Where a distribution's containerd listens. */
export const hostContainerdSocket = "/run/containerd/containerd.sock";
/** A node without a kubelet is of no use, so it is started again and again. */
const patienceMs = 2 ** 31 - 1;
/** A program that cannot be run (missing, or just being replaced) is tried again after this time. */
const missingRetryMs = 5_000;
/** A healthy kubelet answers at once, also on a busy host. */
const healthTimeoutMs = 5_000;

export interface NodeRuntimeInput {
  kubeletPath: string;
  kubeletArguments: (runtimeEndpoint: string, minorVersion: number | undefined) => readonly string[];
  /** `--container-runtime-endpoint`; left out, the host's containerd is used, or one is started. */
  runtimeEndpoint: string | undefined;
  /** Socket of the host's own containerd. */
  hostSocket: string;
  /** Where the kubelet tells on loopback whether it is well. */
  healthzPort: number;
  layout: AgentLayout;
}

/** The kubelet of this node, and containerd where the host runs none: started in order, restarted when they end. */
export class NodeRuntime implements Service {
  readonly #input: NodeRuntimeInput;
  readonly #deps: { log: Logger; clock: Clock };
  readonly #createdMs: number;
  readonly #stop = new AbortController();
  #containerd: SupervisedChild | undefined;
  #kubelet: SupervisedChild | undefined;
  #minorVersion: number | undefined;
  #restarting = false;
  /** Why it could not be started, the last time. */
  #failure: string | undefined;
  /** Since when it runs and does not answer, by the monotonic clock. */
  #silentSinceMs: number | undefined;

  constructor(input: NodeRuntimeInput, deps: { log: Logger; clock: Clock }) {
    this.#input = input;
    this.#deps = deps;
    this.#createdMs = deps.clock.monotonic();
  }

  /** How it goes; the moment is of the monotonic clock. */
  get status(): {
    state: "registering" | "ready" | "failing";
    sinceMs: number;
    reason: string | undefined;
    restarts: number;
  } {
    const { state = "stopped", restarts = 0, sinceMs = this.#createdMs, lastExit } = this.#kubelet ?? {};
    if (state === "ready" && this.#silentSinceMs === undefined) {
      return { state: "ready", sinceMs, reason: undefined, restarts };
    }
    if (state === "ready") {
      const reason = "it runs, but does not answer on its health port";
      return { state: "failing", sinceMs: this.#silentSinceMs!, reason, restarts };
    }
    const lastLine = lastExit?.lastLines.at(-1);
    const ended =
      lastExit && `it ended (${lastExit.signal ?? `code ${lastExit.code}`})${lastLine ? `: ${lastLine}` : ""}`;
    const reason = this.#failure ?? ended;
    return { state: reason === undefined ? "registering" : "failing", sinceMs, reason, restarts };
  }

  /** Begins; programs come up in the background and are kept running whatever happens to them. */
  async start(): Promise<void> {
    this.#keepRunning().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#deps.log.error({ err: error }, "the kubelet is no longer kept running");
    });
  }

  /** Starts the kubelet again, with its current files: it reads its serving certificate only once. */
  async restart(): Promise<void> {
    if (this.#kubelet?.state !== "ready") return;
    this.#restarting = true;
    try {
      await this.#kubelet.restart();
    } finally {
      this.#restarting = false;
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#kubelet?.stop();
    await this.#containerd?.stop();
  }

  async #keepRunning(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      const { state = "stopped" } = this.#kubelet ?? {};
      if ((state === "stopped" || state === "ended") && !this.#restarting) await this.#tryStart();
      await this.#askForHealth();
      await sleep(missingRetryMs, signal);
    }
  }

  /** A kubelet that hangs looks like one that runs: nobody but its health port tells. */
  async #askForHealth(): Promise<void> {
    if (this.#kubelet?.state !== "ready") {
      this.#silentSinceMs = undefined;
      return;
    }
    const { healthzPort } = this.#input;
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(healthTimeoutMs)]);
    const isHealthy = await kubeletHealthy(healthzPort, signal).then(
      () => true,
      () => false,
    );
    this.#silentSinceMs = isHealthy ? undefined : (this.#silentSinceMs ?? this.#deps.clock.monotonic());
  }

  async #tryStart(): Promise<void> {
    try {
      this.#minorVersion = await kubeletMinorVersion(this.#input.kubeletPath);
      this.#kubelet ??= await this.#createKubelet();
      if (this.#stop.signal.aborted) return;
      await this.#kubelet.start();
      this.#failure = undefined;
    } catch (error) {
      const message = errorMessage(error);
      if (this.#stop.signal.aborted || message === this.#failure) return;
      this.#failure = message;
      const hint = error instanceof KeelsonError ? error.hint : undefined;
      this.#deps.log.error({ hint }, `kubelet does not run: ${message}`);
    }
  }

  async #createKubelet(): Promise<SupervisedChild> {
    const { layout, kubeletPath, kubeletArguments, healthzPort } = this.#input;
    await mkdir(layout.podManifests, { recursive: true, mode: 0o755 });
    const endpoint = await this.#runtimeEndpoint();
    return new SupervisedChild(
      {
        name: "kubelet",
        command: kubeletPath,
        args: () => kubeletArguments(endpoint, this.#minorVersion),
        pidFile: join(layout.root, "kubelet.pid"),
        ready: (signal) => kubeletHealthy(healthzPort, signal),
        startTimeoutMs: patienceMs,
      },
      this.#deps,
    );
  }

  async #runtimeEndpoint(): Promise<string> {
    const { runtimeEndpoint, hostSocket, layout } = this.#input;
    if (runtimeEndpoint !== undefined) {
      return runtimeEndpoint.startsWith("/") ? `unix://${runtimeEndpoint}` : runtimeEndpoint;
    }
    if (await exists(hostSocket)) return `unix://${hostSocket}`;
    const root = join(layout.root, "containerd");
    const socket = join(root, "containerd.sock");
    this.#containerd ??= new SupervisedChild(
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

function kubeletHealthy(port: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const req = http.request({ host: "127.0.0.1", port, path: "/healthz", agent: false, signal }, (res) => {
      res.resume();
      if (res.statusCode === 200) resolve();
      else reject(new KeelsonError("kubelet/unhealthy", `kubelet healthz answered ${res.statusCode}`));
    });
    req.on("error", reject);
    req.end();
  });
}
