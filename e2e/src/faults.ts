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
  /** The longest that the client may wait for an acknowledgement, in milliseconds; measured while broken and healing. */
  maxOutageMs: number;
}

export interface FaultResult {
  topology: string;
  role: string;
  kind: FaultKind;
  heldMs: number;
  outageMs: number;
  maxOutageMs: number;
}

/** Breaks one node, heals it, and measures what the background client noticed. */
export async function injectFault(topology: string, fault: Fault, client: BackgroundClient): Promise<FaultResult> {
  const { node, kind, heldMs } = fault;
  await client.acknowledgements(10);
  const brokenAtMs = Date.now();
  await breakNode(node, kind);
  await new Promise((resolve) => setTimeout(resolve, heldMs));
  await healNode(node, kind);
  await client.acknowledgements(20, fault.maxOutageMs + 60_000);
  // What is broken may also hurt when it comes back (a stale leader, a cold cache), so the healing counts.
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  await client.acknowledgements(5);
  const outageMs = client.history.outageMs(brokenAtMs, Date.now());
  const result = { topology, role: fault.role, kind, heldMs, outageMs, maxOutageMs: fault.maxOutageMs };
  await report(result);
  return result;
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
  const { topology, role, kind, outageMs, maxOutageMs } = result;
  console.log(`${topology}: ${kind} ${role}: ${outageMs} ms without an acknowledged write (bound ${maxOutageMs} ms)`);
  const path = process.env.KEELSON_E2E_REPORT;
  if (path === undefined) return;
  await mkdir(dirname(path), { recursive: true });
  await appendFile(path, `${JSON.stringify(result)}\n`);
}
