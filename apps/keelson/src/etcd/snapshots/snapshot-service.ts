import { join } from "node:path";
import { type Clock, errorMessage, type Logger, type Service, type Timer } from "@keelson/service";
import type { EtcdClusterApi } from "../cluster-api.ts";
import type { ObjectStore } from "./object-store.ts";
import { parseSchedule, type Schedule } from "./schedule.ts";
import { expiredSnapshots, type Snapshot } from "./snapshot-name.ts";
import { SnapshotStore } from "./snapshot-store.ts";

export interface SnapshotConfig {
  /** Folder of the snapshots. */
  directory: string;
  nodeName: string;
  /** Base name of scheduled snapshots, and of those without a name (etcd-snapshot). */
  name?: string;
  /** When snapshots are taken, in the words of {@link parseSchedule} (every twelve hours); empty for never. */
  schedule?: string;
  /** How many scheduled snapshots are kept here (5). */
  retention?: number;
  /** How many are kept in the object store (as many as here). */
  remoteRetention?: number;
  compress?: boolean;
}

export interface SnapshotServiceDependencies {
  log: Logger;
  clock: Clock;
  cluster: EtcdClusterApi;
  /** Second place for every snapshot. */
  objectStore?: ObjectStore;
  /** Told about every change of the inventory. */
  onChange?: (snapshots: readonly Snapshot[]) => Promise<void>;
}

export const defaultSchedule = "0 */12 * * *";
/** How often the clock is compared with the schedule: it may be set, and the host may sleep. */
const scheduleCheckMs = 1_000;

/** Takes, lists and gives up snapshots, by hand and on schedule. */
export class SnapshotService implements Service {
  readonly #config: SnapshotConfig;
  readonly #deps: SnapshotServiceDependencies;
  readonly #store: SnapshotStore;
  #dueAfter: Schedule | undefined;
  #schedule: Timer | undefined;
  #running: Promise<unknown> = Promise.resolve();

  constructor(config: SnapshotConfig, deps: SnapshotServiceDependencies) {
    this.#config = config;
    this.#deps = deps;
    this.#store = new SnapshotStore(config.directory, config.nodeName);
  }

  /** Reads the schedule. Throws `option/invalid` when it is none. */
  async prepare(): Promise<void> {
    const schedule = this.#config.schedule ?? defaultSchedule;
    if (schedule !== "") this.#dueAfter ??= await parseSchedule(schedule);
  }

  /** Starts the schedule. */
  async start(): Promise<void> {
    await this.prepare();
    const dueAfter = this.#dueAfter;
    if (dueAfter === undefined) return;
    const { clock } = this.#deps;
    let dueMs = dueAfter(clock.now());
    let isSaving = false;
    this.#schedule = clock.setInterval(() => {
      if (clock.now() < dueMs) return;
      dueMs = dueAfter(clock.now());
      // One that takes longer than its period is not joined by the next.
      if (isSaving) return;
      isSaving = true;
      void this.#saveOnSchedule().finally(() => {
        isSaving = false;
      });
    }, scheduleCheckMs);
  }

  async stop(): Promise<void> {
    this.#schedule?.cancel();
    await this.#running.catch(() => {});
  }

  /** Takes a snapshot now; also into the object store when there is one. One runs at a time. */
  save(options: { base?: string; compress?: boolean } = {}): Promise<Snapshot[]> {
    const run = this.#running.catch(() => {}).then(() => this.#save(options));
    this.#running = run;
    return run;
  }

  /** All snapshots that this server knows, newest first. */
  async list(): Promise<Snapshot[]> {
    const remote = (await this.#deps.objectStore?.list()) ?? [];
    return [...(await this.#store.list()), ...remote].sort((a, b) => b.createdAtMs - a.createdAtMs);
  }

  /** Deletes by name, wherever it is. Throws `snapshot/not-found` when it is nowhere. */
  async delete(name: string): Promise<void> {
    const places = (await this.list()).filter((snapshot) => snapshot.name === name);
    if (places.length === 0) await this.#store.delete(name);
    for (const snapshot of places) await this.#deleteAt(snapshot);
    await this.announce();
  }

  /** Applies retention to the snapshots of one base name, in each place; resolves to what was deleted. */
  async prune(options: { base?: string; keep?: number } = {}): Promise<Snapshot[]> {
    const base = options.base ?? this.#baseName;
    const { retention = 5, remoteRetention = retention } = this.#config;
    const { keep = retention, keep: keepRemote = remoteRetention } = options;
    const remote = (await this.#deps.objectStore?.list()) ?? [];
    const own = remote.filter((snapshot) => snapshot.nodeName === this.#config.nodeName);
    const expired = [
      ...expiredSnapshots(await this.#store.list(), base, keep),
      ...expiredSnapshots(own, base, keepRemote),
    ];
    for (const snapshot of expired) await this.#deleteAt(snapshot);
    if (expired.length > 0) await this.announce();
    return expired;
  }

  /** Tells `onChange` what there is. That the inventory cannot be published must not fail a snapshot that was taken. */
  async announce(): Promise<void> {
    if (this.#deps.onChange === undefined) return;
    try {
      await this.#deps.onChange(await this.list());
    } catch (error) {
      this.#deps.log.warn({ err: error }, "cannot publish the list of etcd snapshots");
    }
  }

  get #baseName(): string {
    return this.#config.name ?? "etcd-snapshot";
  }

  async #save(options: { base?: string; compress?: boolean }): Promise<Snapshot[]> {
    const { cluster, clock, log, objectStore } = this.#deps;
    const snapshot = await this.#store.save(cluster.snapshot(), {
      base: options.base ?? this.#baseName,
      compress: options.compress ?? this.#config.compress ?? false,
      nowMs: clock.now(),
    });
    log.info({ snapshot: snapshot.name, sizeBytes: snapshot.sizeBytes }, "saved an etcd snapshot");
    const saved = [snapshot];
    if (objectStore !== undefined) {
      saved.push(await objectStore.upload(join(this.#config.directory, snapshot.name), snapshot));
      log.info({ snapshot: snapshot.name }, "uploaded the etcd snapshot");
    }
    await this.announce();
    return saved;
  }

  async #saveOnSchedule(): Promise<void> {
    const { log, cluster } = this.#deps;
    try {
      if ((await cluster.status()).isLearner) return;
      await this.save();
      await this.prune();
    } catch (error) {
      log.error({ err: error, reason: errorMessage(error) }, "scheduled etcd snapshot failed");
    }
  }

  async #deleteAt(snapshot: Snapshot): Promise<void> {
    if (snapshot.location.startsWith("s3:")) await this.#deps.objectStore?.delete(snapshot.name);
    else await this.#store.delete(snapshot.name);
  }
}
