import { setTimeout as delay } from "node:timers/promises";
import { createEtcdClient } from "@keelson/etcd-client";
import { type AdapterServer, startAdapter } from "../servers/adapter.ts";
import type { DatabaseServer } from "../servers/database-server.ts";
import { TcpProxy } from "../servers/tcp-proxy.ts";
import { checkHistory, type Violation } from "./check.ts";
import { strike } from "./nemesis.ts";
import { Recorder, readLog } from "./recorder.ts";

export interface HistoryRunOptions {
  database: DatabaseServer;
  faults: number;
  /** Random numbers from 0 to 1 that choose faults. */
  random: () => number;
  onFault?: (name: string, index: number) => void;
}

export interface HistoryRunResult {
  operations: number;
  answered: number;
  events: number;
  violations: Violation[];
  /** The longest time from the end of a fault until every replica answered again, in milliseconds. */
  slowestRecoveryMs: number;
}

const replicaCount = 2;
const clientsPerReplica = 4;
/** Between two faults the replicas must be back: the promise is 5 s. */
const recoveryTimeoutMs = 30_000;
const calmMs = 150;
/** The whole history is checked, so that nothing of it may be compacted. */
const noCompaction = { compaction: { retentionMs: 0, minRetain: 1_000_000_000, maxRetain: 1_000_000_000 } };

/** Two replicas on one database under faults; the recorded history is judged at the end. */
export async function runHistory(options: HistoryRunOptions): Promise<HistoryRunResult> {
  const { database, faults, random } = options;
  const store = `history_${process.pid}_${Math.floor(random() * 2 ** 32)}`;
  const replicas: (AdapterServer & { toDatabase: TcpProxy })[] = [];
  const recorder = new Recorder();
  try {
    for (let index = 0; index < replicaCount; index++) {
      const toDatabase = await TcpProxy.open(database.port);
      replicas.push({ ...(await startAdapter(database.endpoint(store, toDatabase.port), noCompaction)), toDatabase });
    }
    const urls = replicas.map(({ url }) => url);
    recorder.start(urls, clientsPerReplica);
    await delay(500);
    let slowestRecoveryMs = 0;
    for (let index = 0; index < faults; index++) {
      const name = await strike({ replicas, database }, random);
      options.onFault?.(name, index);
      slowestRecoveryMs = Math.max(slowestRecoveryMs, await recovery(recorder, name));
      await delay(calmMs);
    }
    await recorder.stopClients();
    const client = createEtcdClient({ endpoints: urls });
    const { log, final } = await readLog(client);
    await recorder.untilWatched(log.events.at(-1)?.revision ?? 0, recoveryTimeoutMs);
    client.close();
    const { operations, watches } = recorder;
    return {
      operations: operations.length,
      answered: operations.filter(({ answer }) => answer !== undefined).length,
      events: log.events.length,
      violations: checkHistory({ operations, log, watches, final }),
      slowestRecoveryMs,
    };
  } finally {
    recorder.close();
    for (const { process, toDatabase } of replicas) {
      await process.kill();
      await toDatabase.close();
    }
  }
}

/** Waits until each replica answers one of its clients. */
async function recovery(recorder: Recorder, fault: string): Promise<number> {
  const healedMs = performance.now();
  const isBack = (replica: number): boolean =>
    Array.from({ length: clientsPerReplica }, (_, index) => replica * clientsPerReplica + index).some((client) =>
      recorder.answeredSince(healedMs, client),
    );
  while (!Array.from({ length: replicaCount }, (_, replica) => isBack(replica)).every(Boolean)) {
    if (performance.now() - healedMs > recoveryTimeoutMs)
      throw new Error(`no recovery within ${recoveryTimeoutMs} ms after: ${fault}`);
    await delay(10);
  }
  return performance.now() - healedMs;
}
