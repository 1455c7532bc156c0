import { stat } from "node:fs/promises";
import { join } from "node:path";
import { dataDirOption, defineOptions, KeelsonError } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { printObject } from "../cli/output.ts";
import { askHost } from "./ask-status.ts";
import { renderAgent } from "./render-agent.ts";
import { renderProblems } from "./render-problems.ts";
import { renderServer } from "./render-server.ts";

const statusOptions = defineOptions({
  "data-dir": { ...dataDirOption, help: "Folder of the server's or agent's state" },
  output: {
    type: "string",
    short: "o",
    default: "text",
    oneOf: ["text", "json", "yaml"],
    placeholder: "format",
    help: "text, json or yaml",
  },
});

/** Exit code 1 when something is wrong, so that a monitor can tell. */
export const statusCommand = defineCommand({
  options: statusOptions,
  async run({ options, print }) {
    const dataDir = options["data-dir"];
    const host = await askHost(dataDir);
    const { server, agent } = host;
    if (server === undefined && agent === undefined) throw await nothingRuns(dataDir);
    const problems = [...(server?.problems ?? []), ...(agent?.problems ?? [])];
    if (options.output === "text") {
      const nowMs = Date.now();
      if (server !== undefined) print(renderServer(server, nowMs));
      if (agent !== undefined) print(renderAgent(agent, nowMs));
      print(renderProblems(problems, nowMs));
    } else {
      await printObject(print, options.output, host);
    }
    return problems.length === 0 ? 0 : 1;
  },
});

async function nothingRuns(dataDir: string): Promise<KeelsonError> {
  const exists = (role: string): Promise<boolean> =>
    stat(join(dataDir, role)).then(
      () => true,
      () => false,
    );
  const roles = (await exists("server")) ? "server" : (await exists("agent")) ? "agent" : undefined;
  return roles === undefined
    ? new KeelsonError("status/none", `no server and no agent has run with the data directory ${dataDir}`, {
        hint: "name the folder with --data-dir",
      })
    : new KeelsonError("status/stopped", `the ${roles} of ${dataDir} was stopped`, {
        hint: `start it: systemctl start keelson-${roles}`,
      });
}
