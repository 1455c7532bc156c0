import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

/**
 * `npm run bench -- join-storm`: a server on SQLite in an empty data directory, then a thousand agents that join it at once
 * and, when all are in, come back at once, and once more the moment the server is there again after a restart. The agents are a process of their own (e2e/src/replay-storm-cli.ts), which
 * says whether the bars are met; beside them stands the processor time that each side used.
 */

const launcher = resolve(import.meta.dirname, "../../apps/keelson/bin/keelson.js");
const storm = resolve(import.meta.dirname, "../../e2e/src/replay-storm-cli.ts");
/** What a server keeps of whom it verified, below its data directory. */
const verifiedPasswords = "server/cred/verified-node-passwords.json";
const startTimeoutMs = 30_000;

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      agents: { type: "string", default: "1000" },
      json: { type: "boolean", default: false },
      /** The restarted server remembers nobody, as one that takes over from another. */
      cold: { type: "boolean", default: false },
      /** Folder for processor profiles of the server and of the agents. */
      "cpu-prof": { type: "string" },
    },
  });
  const dataDir = await mkdtemp(join(tmpdir(), "keelson-join-storm-"));
  const folder = values["cpu-prof"];
  const profile = folder === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${folder}`];
  const port = await freePort();
  const startServer = (): ChildProcess =>
    spawn(
      process.execPath,
      [
        ...profile,
        launcher,
        "server",
        `--data-dir=${dataDir}`,
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        `--https-listen-port=${port}`,
        "--datastore-listen-address=",
        "--node-name=storm-server",
        "--disable-agent",
        "--log-level=warn",
      ],
      { stdio: ["ignore", "inherit", "inherit", "ipc"] },
    );
  let server = startServer();
  const restart = async (): Promise<void> => {
    await stop(server);
    if (values.cold) await rm(join(dataDir, verifiedPasswords));
    server = startServer();
    await ready(server);
  };
  try {
    await ready(server);
    const agents = spawn(
      process.execPath,
      [
        ...profile,
        storm,
        `--server=https://127.0.0.1:${port}`,
        `--data-dir=${dataDir}`,
        `--agents=${values.agents}`,
        `--server-pid=${server.pid}`,
        ...(values.json ? ["--json"] : []),
      ],
      { stdio: ["ignore", "inherit", "inherit", "ipc"] },
    );
    // The agents ask for it when they have come back for the first time.
    agents.once("message", () => {
      restart().then(
        () => agents.send({ serverPid: server.pid }),
        (error: unknown) => {
          console.error(error);
          agents.kill();
        },
      );
    });
    const [code] = (await once(agents, "exit")) as [number | null];
    return code ?? 1;
  } finally {
    await stop(server);
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** Resolves when the server reports its last step. */
async function ready(server: ChildProcess): Promise<void> {
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

async function stop(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const ended = once(server, "exit");
  server.kill("SIGTERM");
  await ended;
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}
