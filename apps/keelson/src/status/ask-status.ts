import { stat } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import type { AgentStatus } from "@keelson/agent";
import { errorCode, KeelsonError, type Problem, statusHeartbeatMs } from "@keelson/service";
import type { ServerStatus } from "./server-status.ts";

/** What a data directory tells of its daemon: its own words, or that it cannot speak and since when. */
export type Asked<Status> =
  | ({ state: "running" } & Status)
  /** `gone`: it ended without an orderly stop. `hangs`: it is there and does not answer. */
  | { state: "gone" | "hangs"; lastSeen: string; problems: readonly Problem[] };

export type Role = "server" | "agent";

export interface HostStatus {
  server?: Asked<ServerStatus>;
  agent?: Asked<AgentStatus>;
}

const timeoutMs = 3_000;
/** A sign of life this old: the process does not run. A younger one: it is only slow, or this command is, and is asked again. */
const signOfLifeMs = 3 * statusHeartbeatMs;
const maxTries = 5;

/** Asks the server and the agent of this data directory; leaves out what has never run or was stopped in order. */
export async function askHost(dataDir: string): Promise<HostStatus> {
  const [server, agent] = await Promise.all([ask<ServerStatus>(dataDir, "server"), ask<AgentStatus>(dataDir, "agent")]);
  // A server carries its agent in its own process: what is wrong with that process is said once.
  const oneProcess = server !== undefined && server.state !== "running";
  return {
    ...(server === undefined ? {} : { server }),
    ...(agent === undefined || oneProcess ? {} : { agent }),
  };
}

async function ask<Status>(dataDir: string, role: Role, tries = 1): Promise<Asked<Status> | undefined> {
  const socketPath = join(dataDir, role, "status.sock");
  try {
    return { state: "running", ...(JSON.parse(await get(socketPath)) as Status) };
  } catch (error) {
    switch (errorCode(error)) {
      case "ENOENT":
      case "ENOTDIR":
        return undefined;
      case "ECONNREFUSED":
        return silent(socketPath, role, "gone");
      case "ABORT_ERR": {
        const silentMs = Date.now() - (await stat(socketPath)).mtimeMs;
        if (silentMs < signOfLifeMs && tries < maxTries) return ask(dataDir, role, tries + 1);
        return silent(socketPath, role, "hangs");
      }
      case "EACCES":
      case "EPERM":
        throw new KeelsonError("status/forbidden", `no permission to ask the ${role} of ${dataDir}`, {
          hint: `run as the user that runs the ${role} (root)`,
          cause: error,
        });
      default:
        throw new KeelsonError("status/unreadable", `the ${role} of ${dataDir} gives no status`, { cause: error });
    }
  }
}

function get(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const req = request(
      { socketPath, path: "/status", agent: false, signal: AbortSignal.timeout(timeoutMs) },
      async (res) => {
        try {
          let text = "";
          for await (const chunk of res.setEncoding("utf8")) text += chunk;
          resolve(text);
        } catch (error) {
          reject(error);
        }
      },
    );
    req.once("error", reject);
    req.end();
  });
}

/** The daemon renews its socket's modification time while it lives. */
async function silent(socketPath: string, role: Role, state: "gone" | "hangs"): Promise<Asked<never>> {
  const lastSeen = (await stat(socketPath)).mtime.toISOString();
  const what =
    state === "gone"
      ? `the ${role} of this host is not running: it ended without an orderly stop (killed, crashed, or the host failed)`
      : `the ${role} of this host hangs: its process is there and has not answered for ${timeoutMs / 1_000} s`;
  const unit = `keelson-${role}`;
  const advice =
    state === "gone"
      ? `look for the reason (journalctl -u ${unit}) and start it: systemctl start ${unit}`
      : `it may be paused (kill -CONT), or the host is out of memory or disk: systemctl restart ${unit}`;
  return { state, lastSeen, problems: [{ what, since: lastSeen, advice }] };
}
