/**
 * Joins a server as a stock agent would and writes what an agent writes:
 *   node e2e/src/replay-agent-cli.ts --era newest --server https://127.0.0.1:6443 --token-file token --node-name n1 --dir agent
 */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { errorMessage } from "@keelson/service";
import { type AgentEra, joinReplayAgent } from "./replay-agent.ts";
import { writeAgentDirectory } from "./replay-kubeconfig.ts";

const { values } = parseArgs({
  options: {
    era: { type: "string", default: "newest" },
    server: { type: "string" },
    token: { type: "string" },
    "token-file": { type: "string" },
    "node-name": { type: "string", default: "replay-1" },
    "node-ip": { type: "string", default: "192.0.2.1" },
    "node-password": { type: "string" },
    dir: { type: "string" },
    tunnel: { type: "boolean", default: false },
  },
});
const { era, server, "node-name": nodeName, "node-ip": nodeIp, "node-password": nodePassword, dir } = values;
const token =
  values.token ?? (values["token-file"] === undefined ? undefined : await readFile(values["token-file"], "utf8"));
if (server === undefined || token === undefined || (era !== "v1.21" && era !== "newest")) {
  console.error("needed: --server https://host:port, --token or --token-file; --era is v1.21 or newest");
  process.exit(2);
}
const joined = await joinReplayAgent({
  era: era as AgentEra,
  server,
  token: token.trim(),
  nodeName,
  nodeIps: nodeIp.split(","),
  openTunnel: values.tunnel,
  ...(nodePassword === undefined ? {} : { nodePassword }),
  onAnswer: (path, answer) => console.log(`${answer.status} ${path}`),
  onRetry: (error) => console.error(`starting again: ${errorMessage(error)}`),
});
if (dir !== undefined) await writeAgentDirectory(dir, server, joined.files);
console.log(`joined as ${joined.nodeName} after ${joined.retries} retries`);
if (joined.tunnel !== undefined) console.log("tunnel open; interrupt to leave");
