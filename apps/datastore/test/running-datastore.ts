import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { onTestFinished } from "vitest";
import { createDatastore, type Datastore, type DatastoreConfig } from "../src/index.ts";

export interface Running {
  datastore: Datastore;
  client: EtcdClient;
  url: string;
  /** Path of the SQLite file. */
  path: string;
  stop(): Promise<void>;
}

/** A folder that is gone after the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "keelson-datastore-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A datastore on SQLite with a free port and a client; stopped after the test. */
export async function runDatastore(options: Partial<DatastoreConfig> & { path?: string } = {}): Promise<Running> {
  const path = options.path ?? join(await temporaryFolder(), "state.db");
  const datastore = createDatastore({
    endpoint: `sqlite://${path}`,
    listen: [{ url: "http://127.0.0.1:0" }],
    ...options,
  });
  await datastore.start();
  const url = datastore.addresses[0]!;
  const client = createEtcdClient({ endpoints: [url], timeoutMs: 20_000 });
  let stopped = false;
  const stop = async (): Promise<void> => {
    if (stopped) return;
    stopped = true;
    await client.close();
    await datastore.stop();
  };
  onTestFinished(stop);
  return { datastore, client, url, path, stop };
}

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("utf8");
export const bytes = (value: string): Buffer => Buffer.from(value);
