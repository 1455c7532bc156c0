import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";

const launcher = resolve(import.meta.dirname, "../../apps/keelson/bin/keelson.js");
const startTimeoutMs = 30_000;

/** Starts `keelson` as a user does, in a process of its own. */
export function startKeelson(
  args: readonly string[],
  options: SpawnOptions & { nodeArgs?: readonly string[] } = {},
): ChildProcess {
  const { nodeArgs = [], ...spawnOptions } = options;
  return spawn(process.execPath, [...nodeArgs, launcher, ...args], spawnOptions);
}

/** A server on SQLite, alone on loopback, without an agent of its own; it reports its steps to this process. */
export function startServer(dataDir: string, port: number, nodeArgs: readonly string[] = []): ChildProcess {
  return startKeelson(
    [
      "server",
      `--data-dir=${dataDir}`,
      "--bind-address=127.0.0.1",
      "--advertise-address=127.0.0.1",
      `--https-listen-port=${port}`,
      "--datastore-listen-address=",
      "--node-name=bench-server",
      "--disable-agent",
      "--log-level=warn",
    ],
    { nodeArgs, stdio: ["ignore", "inherit", "inherit", "ipc"] },
  );
}

/** Resolves when the server reports its last step. */
export async function serverReady(server: ChildProcess): Promise<void> {
  const signal = AbortSignal.timeout(startTimeoutMs);
  const ended = once(server, "exit", { signal }).then(() => Promise.reject(new Error("the server did not start")));
  const isUp = (async () => {
    for (;;) {
      const [message] = (await once(server, "message", { signal })) as [{ step?: string }];
      if (message.step === "ready") return;
    }
  })();
  await Promise.race([isUp, ended]);
  ended.catch(() => {});
}

/** Asks the process to end and waits until it has. */
export async function stopKeelson(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await ended;
}
