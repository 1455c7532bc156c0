import { appendFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { History } from "../observer/history.ts";
import type { Observation } from "../observer/observation.ts";
import { HostCluster, type HostNode } from "./host-cluster.ts";
import { type Poll, PollHistory } from "./poll-history.ts";

/**
 * `kill -9`; the whole host gone, process and address; SIGSTOP; the network taken away without a word; an orderly restart.
 */
export const faultKinds = ["kill", "vanish", "stop", "cut", "restart"] as const;
export type FaultKind = (typeof faultKinds)[number];

/** How long a fault is held before it is healed. */
const heldMs: Readonly<Record<FaultKind, number>> = { kill: 4_000, vanish: 4_000, stop: 5_000, cut: 6_000, restart: 0 };
/** A part that has come back is given this long before the next fault. */
const settleMs = 2_000;
const logsLimitMs = 15_000;

/** What clients noticed of one fault. */
export interface FaultRow {
  kind: FaultKind;
  server: string;
  /** The agent's load balancer was using this server. */
  wasActive: boolean;
  failedReads: number;
  longestGapMs: number;
  /** Until every other server answered for a pod's log again. */
  logsElsewhereMs: number;
  /** Until this server did, from when it was healed. */
  logsHereMs: number;
  /** What `keelson status` said in the middle of it. */
  status: { onAgent: string; onSurvivor: string; onServer: string };
}

const logPath = "/api/v1/namespaces/default/pods/talker/log";
const pod = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "talker" },
  spec: { nodeName: "agent-2", containers: [{ name: "main", image: "none" }] },
};

/** A cluster of three servers and two agents under faults, with clients on the first agent's host. */
export class AgentFaults {
  readonly cluster = new HostCluster();
  readonly polls = new PollHistory();
  readonly watched = new History();
  #stopWatcher: () => Promise<void> = async () => {};

  async start(): Promise<void> {
    const { cluster } = this;
    await cluster.start();
    const [first, second] = cluster.agents;
    await this.#until("both agents are Ready", 30_000, async () => {
      const nodes = await cluster.kubectl("get", "nodes", "--no-headers").catch(() => "");
      return (nodes.match(/\bReady\b/g) ?? []).length === 2;
    });
    const files = ["serving-kubelet.crt", "serving-kubelet.key", "client-ca.crt"];
    const tls = files.map((file) => join(second!.dataDir, "agent", file));
    cluster.program(second!, join(import.meta.dirname, "kubelet-stand-in.ts"), tls, {}, () => {});
    await cluster.kubectl("create", "configmap", "polled");
    await cluster.apply(pod);

    const { ca, cert, key } = await cluster.adminCredentials();
    const SERVER = "https://127.0.0.1:6444";
    const SERVERS = cluster.servers.map((server) => cluster.serverAddress(server)).join(",");
    const credentials = { SERVER, CA: ca, CERT: cert, KEY: key };
    const poller = join(import.meta.dirname, "poller.ts");
    const env = { ...credentials, SERVERS, LOG_PATH: logPath };
    cluster.program(first!, poller, [], env, (line) => this.polls.add(JSON.parse(line) as Poll));
    const observer = resolve(import.meta.dirname, "../observer/client.ts");
    const watcher = cluster.program(first!, observer, [], { ...credentials, PERIOD_MS: "150" }, (line) =>
      this.watched.add(JSON.parse(line) as Observation),
    );
    const ended = new Promise<void>((resolve) => watcher.once("exit", () => resolve()));
    this.#stopWatcher = async () => {
      watcher.kill("SIGTERM");
      await ended;
    };
    const sinceMs = Date.now();
    await this.#until("logs come through every server", 30_000, () => this.#logsComeThrough(cluster.servers, sinceMs));
    await delay(settleMs);
  }

  /** Breaks a server, heals it, and tells what was noticed. */
  async inject(kind: FaultKind, server: HostNode): Promise<FaultRow> {
    const { cluster, polls } = this;
    const others = cluster.servers.filter((other) => other !== server);
    const wasActive = (await this.activeServer()) === server;
    const brokenAtMs = Date.now();
    await this.#break(kind, server);
    await delay(heldMs[kind]);
    const asked = kind === "restart" ? [] : [cluster.agents[0]!, others[0]!, server];
    const said: string[] = [];
    for (const node of asked) said.push(await cluster.status(node));
    const [onAgent = "", onSurvivor = "", onServer = ""] = said;
    await this.#heal(kind, server);
    const healedAtMs = Date.now();
    await this.#until(
      `logs come through ${others.map(({ name }) => name)} after ${kind} ${server.name}`,
      logsLimitMs,
      () => this.#logsComeThrough(others, brokenAtMs + 1_000),
    );
    await this.#until(`logs come through ${server.name} again after ${kind}`, logsLimitMs, () =>
      this.#logsComeThrough([server], healedAtMs),
    );
    await delay(settleMs);
    const endMs = Date.now();
    const row: FaultRow = {
      kind,
      server: server.name,
      wasActive,
      failedReads: polls.failedReads(brokenAtMs, endMs).length,
      longestGapMs: polls.longestGapMs(brokenAtMs, endMs),
      logsElsewhereMs: Math.max(...others.map((other) => polls.logsWithinMs(cluster.serverAddress(other), brokenAtMs))),
      logsHereMs: polls.logsWithinMs(cluster.serverAddress(server), healedAtMs),
      status: { onAgent, onSurvivor, onServer },
    };
    await this.#record(row, polls.aroundLongestGap(brokenAtMs, endMs), polls.failedReads(brokenAtMs, endMs));
    return row;
  }

  /** The server that the first agent's load balancer uses, if it is sure of one. */
  async activeServer(): Promise<HostNode | undefined> {
    const { agent } = JSON.parse(await this.cluster.status(this.cluster.agents[0]!, "json"));
    const active = agent.loadBalancer.servers.find(({ state }: { state: string }) => state === "active");
    return this.cluster.servers.find((server) => this.cluster.serverAddress(server) === active?.address);
  }

  /** Lets the watch see its last events; then the history may be judged. */
  async finish(): Promise<void> {
    await this.#stopWatcher();
  }

  async remove(): Promise<void> {
    await this.cluster.remove();
  }

  async #break(kind: FaultKind, server: HostNode): Promise<void> {
    if (kind === "kill") await server.process.kill();
    else if (kind === "vanish") {
      await server.process.kill(); // its connections still end; from then on nobody answers at its address
      await this.cluster.network.cut(server.name);
    } else if (kind === "stop") server.process.pause();
    else if (kind === "cut") await this.cluster.network.cut(server.name);
    else await server.process.stop();
  }

  async #heal(kind: FaultKind, server: HostNode): Promise<void> {
    if (kind === "stop") server.process.resume();
    else if (kind === "cut") await this.cluster.network.heal(server.name);
    else {
      if (kind === "vanish") await this.cluster.network.heal(server.name);
      await server.process.start();
    }
  }

  async #logsComeThrough(servers: readonly HostNode[], sinceMs: number): Promise<boolean> {
    return servers.every((server) => this.polls.logsWithinMs(this.cluster.serverAddress(server), sinceMs) < Infinity);
  }

  async #until(what: string, limitMs: number, holds: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + limitMs;
    while (!(await holds())) {
      if (Date.now() > deadline) {
        const failures = this.cluster.servers.map(
          (server) => `${server.name}: ${this.polls.lastLogFailure(this.cluster.serverAddress(server)) ?? "none"}`,
        );
        throw new Error(`not within ${limitMs} ms: ${what}; last failures of logs: ${failures.join(", ")}`);
      }
      await delay(100);
    }
  }

  /** KEELSON_FAULT_REPORT names a file that gets each fault as a JSON line, with the polls around its longest gap. */
  async #record(row: FaultRow, around: readonly Poll[], failed: readonly Poll[]): Promise<void> {
    const path = process.env.KEELSON_FAULT_REPORT;
    if (path !== undefined) await appendFile(path, `${JSON.stringify({ ...row, around, failed })}\n`);
  }
}

/** The rows as a table for people. */
export function faultTable(rows: readonly FaultRow[]): string {
  const head =
    "| fault | failed requests | longest gap | logs through the others | logs through it again |\n|---|---|---|---|---|";
  const lines = rows.map(({ kind, server, wasActive, failedReads, longestGapMs, logsElsewhereMs, logsHereMs }) => {
    const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
    const cells = [
      `${kind} ${server}${wasActive ? " (in use)" : ""}`,
      String(failedReads),
      `${longestGapMs} ms`,
      seconds(logsElsewhereMs),
      seconds(logsHereMs),
    ];
    return `| ${cells.join(" | ")} |`;
  });
  return [head, ...lines].join("\n");
}
