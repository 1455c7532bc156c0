import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { freePort } from "@keelson/conformance";
import { serverReady, startServer, stopKeelson } from "./keelson-process.ts";

/**
 * `npm run bench -- join-storm`: a server on SQLite in an empty data directory, then a thousand agents that join it at once
 * and, when all are in, come back at once, and once more the moment the server is there again after a restart. The agents are
 * a process of their own (e2e/src/replay-storm-cli.ts), which says whether the bars are met; beside them stands the processor
 * time that each side used.
 */

const storm = resolve(import.meta.dirname, "../../e2e/src/replay-storm-cli.ts");
/** What a server keeps of whom it verified, below its data directory. */
const verifiedPasswords = "server/cred/verified-node-passwords.json";

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
  let server = startServer(dataDir, port, profile);
  const restart = async (): Promise<void> => {
    await stopKeelson(server);
    if (values.cold) await rm(join(dataDir, verifiedPasswords));
    server = startServer(dataDir, port, profile);
    await serverReady(server);
  };
  try {
    await serverReady(server);
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
    await stopKeelson(server);
    await rm(dataDir, { recursive: true, force: true });
  }
}
