import { appendFile, mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { BackgroundClient } from "./background-client.ts";
import type { Node } from "./node.ts";

export type FaultKind = "kill" | "pause" | "disconnect" | "restart";

export interface Fault {
  /** What is hit, in the report's words (`server`, `etcd leader`, `database`). */
  role: string;
  kind: FaultKind;
  node: Node;
  /** How long it stays broken, in milliseconds. */
  heldMs: number;
  /**
   * The longest that the client may wait for an acknowledgement, in milliseconds; measured while broken and healing. What
   * has no replacement is given its own downtime: until it is healed, or until {@link isBack} says that it serves again.
   */
  maxOutageMs: number | ((downMs: number) => number);
  /** Asks the healed node itself whether it serves. */
  isBack?: () => Promise<boolean>;
}

export interface FaultResult {
  topology: string;
  role: string;
  kind: FaultKind;
  /** How long the node itself was away. */
  downMs: number;
  outageMs: number;
  maxOutageMs: number;
  /** What the client was told meanwhile. */
  refusals: string[];
}

/** Breaks one node, heals it, and measures what the background client noticed. */
export async function injectFault(topology: string, fault: Fault, client: BackgroundClient): Promise<FaultResult> {
  const { node, kind, heldMs } = fault;
  await client.acknowledgements(10);
  const brokenAtMs = Date.now();
  await breakNode(node, kind);
  await pause(heldMs);
  await healNode(node, kind);
  while (fault.isBack !== undefined && !(await fault.isBack())) await pause(50);
  const downMs = Date.now() - brokenAtMs;
  await client.acknowledgements(20);
  // What is broken may also hurt when it comes back (a stale leader, a cold cache), so the healing counts.
  await pause(2_000);
  await client.acknowledgements(5);
  const endMs = Date.now();
  const result = {
    topology,
    role: fault.role,
    kind,
    downMs,
    outageMs: client.history.outageMs(brokenAtMs, endMs),
    maxOutageMs: typeof fault.maxOutageMs === "number" ? fault.maxOutageMs : fault.maxOutageMs(downMs),
    refusals: client.history.refusals(brokenAtMs, endMs),
  };
  await report(result);
  return result;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function breakNode(node: Node, kind: FaultKind): Promise<void> {
  if (kind === "kill") return node.kill();
  if (kind === "pause") return node.pause();
  if (kind === "disconnect") return node.disconnect();
  return node.shutDown();
}

async function healNode(node: Node, kind: FaultKind): Promise<void> {
  if (kind === "pause") return node.unpause();
  if (kind === "disconnect") return node.connect();
  return node.start();
}

/** One line per fault, so that a run that ends early still has its numbers. KEELSON_E2E_REPORT names the file. */
async function report(result: FaultResult): Promise<void> {
  const { topology, role, kind, downMs, outageMs, maxOutageMs } = result;
  const seen = `${outageMs} ms without an acknowledged write (bound ${maxOutageMs} ms)`;
  console.log(`${topology}: ${kind} ${role}, away for ${downMs} ms: ${seen}`);
  const path = process.env.KEELSON_E2E_REPORT;
  if (path === undefined) return;
  await mkdir(dirname(path), { recursive: true });
  await appendFile(path, `${JSON.stringify(result)}\n`);
}
