import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, createLogger, systemClock } from "@keelson/service";
import { type Agent, type AgentConfig, createAgent } from "../../src/index.ts";

/** An agent in a folder of its own, and what it logged. */
export interface TestAgent extends AsyncDisposable {
  agent: Agent;
  dataDir: string;
  log: string[];
}

export async function startAgent(
  config: Partial<AgentConfig> & Pick<AgentConfig, "servers"> & { token?: AgentConfig["token"] | undefined },
  clock: Clock = systemClock,
): Promise<TestAgent> {
  const dataDir = config.dataDir ?? (await mkdtemp(join(tmpdir(), "keelson-agent-")));
  const log: string[] = [];
  const agent = createAgent(
    {
      dataDir,
      nodeName: "Node-A",
      nodePasswordFile: join(dataDir, "node", "password"),
      lbPort: 0,
      nodeIps: ["192.0.2.7"],
      ...config,
    },
    {
      clock,
      log: createLogger({ name: "agent", level: "info", destination: { write: (line) => void log.push(line) } }),
    },
  );
  await agent.start();
  return {
    agent,
    dataDir,
    log,
    async [Symbol.asyncDispose]() {
      await agent.stop();
      if (config.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
    },
  };
}
