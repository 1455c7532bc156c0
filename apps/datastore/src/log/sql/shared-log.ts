import { randomBytes, randomInt } from "node:crypto";
import { type Clock, errorMessage, type Logger } from "@keelson/service";
import {
  type AppendLog,
  type ForeignSink,
  type LogBatch,
  type LogMember,
  type LogState,
  type LogTurn,
  LogUnavailableError,
  type StoredLease,
  type StoredRow,
} from "../append-log.ts";
import { DatabaseSize } from "./database-size.ts";
import { deferred } from "./deferred.ts";
import { LogPosition } from "./log-position.ts";
import { Membership } from "./membership.ts";
import { Poll } from "./poll.ts";
import { RowLoad } from "./row-load.ts";
import { RowPurge } from "./row-purge.ts";
import { type Hold, Sequencer, unavailable } from "./sequencer.ts";
import { SharedLook } from "./shared-look.ts";
import { SharedRead } from "./shared-read.ts";
import type { Look, SequencedBatch, SqlDatabase } from "./sql-database.ts";

/** How many of the newest rows get kine's old_value at a clean stop. */
const handBackStepRows = 1_000;
const handBackRows = 20_000;

export interface SharedLogOptions {
  kind: "postgres" | "mysql";
  /** Makes the database's driver; its library is loaded only when it is used. */
  database: () => Promise<SqlDatabase>;
  log: Logger;
  clock: Clock;
}

/** What exists once the log is open. */
interface Opened {
  database: SqlDatabase;
  load: RowLoad;
  sequencer: Sequencer;
  membership: Membership;
  purge: RowPurge;
  poll: Poll;
  sink: ForeignSink;
  clusterId: bigint;
  /** Replaced when everything is loaded anew. */
  position: LogPosition;
}

/**
 * The log in a database server that several replicas share. What makes each of them exact:
 *
 * 1. A batch is written under the sequencer lock, in the transaction that took it, after a look at everything newer than
 *    the *cursor*: the newest row and lease change that the sink has been given. Whoever looked first moves the cursor, so
 *    nothing reaches the sink twice or out of order.
 * 2. While a turn is out nobody else can commit, so what a concurrent look sees above the cursor is this replica's own
 *    commit. Such a look waits for the turn to end.
 * 3. Ids have no holes. A look that finds one has missed rows: compaction was faster, or the database lost commits in a
 *    fail-over. Then everything is loaded anew ({@link ForeignSink.lost}).
 * 4. A commit whose answer got lost is looked for under the lock by this member's batch number, and made again when it is
 *    not there and nobody wrote in between (see {@link Sequencer.commit}).
 */
export class SharedLog implements AppendLog {
  readonly exclusive = false;
  readonly kind: string;
  readonly #options: SharedLogOptions;
  readonly #memberId = randomBytes(8).readBigUInt64BE() >> 1n || 1n;
  readonly #looks = new SharedLook(() => this.#lookAndAbsorb());
  readonly #size = new DatabaseSize(() => this.#parts.database.size());
  readonly #reads = new SharedRead((ids) => this.#parts.database.values(ids));
  #opened: Opened | undefined;
  #batchNumber = 0;
  /** Resolves when the turn that is out has ended. */
  #turnEnd: Promise<void> | undefined;
  #closed = false;

  constructor(options: SharedLogOptions) {
    this.#options = options;
    this.kind = options.kind;
  }

  async open(sink: ForeignSink): Promise<LogState> {
    const database = await this.#options.database();
    const { clusterId, ...start } = await database.open(this.#memberId);
    const membership = new Membership(this.#memberId, database, this.#options);
    this.#opened = {
      database,
      load: new RowLoad(database, () => this.#closed),
      sequencer: new Sequencer(database, this.#options),
      membership,
      purge: new RowPurge((ids) => database.purge(ids), this.#options.log),
      poll: new Poll({
        clock: this.#options.clock,
        isNotified: () => database.notified,
        isAlone: () => membership.isAlone,
        look: async () => (this.#turnEnd === undefined ? this.readIndex() : undefined),
      }),
      sink,
      clusterId,
      position: new LogPosition({ ...start, settings: await database.settings() }),
    };
    database.onNotify(() => this.#wake());
    return this.#state();
  }

  announce(member: { name: string; clientUrls: readonly string[] }): void {
    this.#parts.membership.announce(member);
  }

  async load(onRow: (row: StoredRow) => void, onLease: (lease: StoredLease) => void): Promise<void> {
    const { load, poll, position } = this.#parts;
    await load.run(position.cursor.id, onRow, onLease);
    poll.start();
  }

  async acquire(): Promise<LogTurn> {
    const parts = this.#parts;
    const { sequencer, purge } = parts;
    await purge.run();
    if (purge.isBehind) throw new LogUnavailableError("compacted rows cannot be deleted", undefined);
    for (;;) {
      await parts.load.done;
      const hold = await sequencer.lock(() => parts.position.cursor);
      try {
        await this.#makeDurable(hold.look);
        if (!parts.position.hasLostTrack(hold.look)) {
          this.#absorb(hold.look);
          return this.#turn(hold);
        }
        await this.#startAnew(hold);
      } catch (error) {
        hold.unlock();
        throw unavailable("cannot take the write lock", error);
      }
    }
  }

  async readIndex(): Promise<void> {
    await this.#parts.load.done;
    await this.#looks.ask();
  }

  async readValues(ids: readonly number[]): Promise<(Uint8Array | undefined)[]> {
    try {
      return await this.#reads.ask(ids);
    } catch (error) {
      throw unavailable("cannot read values", error);
    }
  }

  fitsKey(key: string): boolean {
    return this.#parts.database.fitsKey(key);
  }

  async size(): Promise<{ total: number; inUse: number }> {
    return await this.#size.ask();
  }

  async defragment(): Promise<void> {
    try {
      await this.#parts.database.defragment();
    } catch (error) {
      throw unavailable("cannot defragment", error);
    }
  }

  members(): LogMember[] {
    return this.#parts.membership.members;
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#opened === undefined) return;
    const { database, membership, poll } = this.#opened;
    poll.stop();
    try {
      await membership.leave();
      if (membership.isAlone) await this.#handBack(this.#opened);
    } catch (error) {
      this.#options.log.warn({ error: errorMessage(error) }, "could not leave the database tidy");
    } finally {
      await database.close();
    }
  }

  get #parts(): Opened {
    if (this.#opened === undefined) throw new LogUnavailableError("the database is not open", undefined);
    return this.#opened;
  }

  #state(): LogState {
    const { clusterId, position } = this.#parts;
    return {
      clusterId,
      memberId: this.#memberId,
      currentRevision: position.cursor.id,
      compactedRevision: position.compactedRevision,
      settings: position.settings,
    };
  }

  async #handBack({ database, position }: Opened): Promise<void> {
    for (let done = 0; done < handBackRows; done += handBackStepRows) {
      const changed = await database.handBack(position.compactedRevision, handBackStepRows);
      if (changed < handBackStepRows) return;
    }
  }

  async #lookAndAbsorb(): Promise<void> {
    try {
      const parts = this.#parts;
      const { done } = parts.load;
      const look = await parts.sequencer.look(parts.position.cursor);
      await this.#turnIsOver(look);
      await this.#makeDurable(look);
      // A turn may have begun meanwhile; it has then absorbed everything, or has committed on top of it.
      await this.#turnIsOver(look);
      if (parts.load.done !== done) {
        await parts.load.done;
        return await this.#lookAndAbsorb();
      }
      if (!parts.position.hasLostTrack(look)) return this.#absorb(look);
      await this.#checkTrackLocked();
    } catch (error) {
      throw unavailable("cannot learn the newest revision", error);
    }
  }

  async #turnIsOver(look: Look): Promise<void> {
    while (this.#parts.position.isNews(look) && this.#turnEnd !== undefined) await this.#turnEnd;
  }

  async #makeDurable(look: Look): Promise<void> {
    const { database, position } = this.#parts;
    if (database.visibleMeansDurable || position.isDurable(look)) return;
    await database.makeDurable(this.#memberId);
    position.noteDurable(look);
  }

  /** Hands over what the look found and moves the cursor over it. Never waits. */
  #absorb(look: Hold["look"]): void {
    const { position, poll, sink } = this.#parts;
    const changes = position.absorb(look);
    if (changes === undefined) return;
    poll.noteActivity();
    sink.apply(changes);
  }

  /** What a look outside of the lock suspects is decided under it. */
  async #checkTrackLocked(): Promise<void> {
    const parts = this.#parts;
    const hold = await parts.sequencer.lock(() => parts.position.cursor);
    try {
      await this.#makeDurable(hold.look);
      if (parts.position.hasLostTrack(hold.look)) await this.#startAnew(hold);
      else this.#absorb(hold.look);
    } finally {
      hold.unlock();
    }
  }

  /**
   * Under the lock: lets the engine load everything again. Revisions that were given out once are not given out again,
   * even when the database has forgotten them, and a new era tells the other replicas of that.
   */
  async #startAnew(hold: Hold): Promise<void> {
    const { look } = hold;
    const { log } = this.#options;
    const parts = this.#parts;
    const { cursor } = parts.position;
    let { lastId, changeSeq, era } = look;
    if (lastId < cursor.id) {
      log.error(
        { revision: cursor.id, databaseRevision: lastId },
        "the database went back in time: it was restored, or failed over without its last commits",
      );
      lastId = cursor.id;
      changeSeq = Math.max(changeSeq, cursor.changeSeq) + 1;
      era = randomInt(2 ** 47);
      const batchNumber = ++this.#batchNumber;
      const batch = { ...emptyBatch, memberId: this.#memberId, batchNumber, lastId, changeSeq, era };
      await hold.commit(batch, { id: look.lastId, changeSeq: look.changeSeq });
    } else {
      log.warn(
        { revision: look.afterId, databaseRevision: lastId },
        "rows are gone that were never seen; loading anew",
      );
      hold.unlock();
    }
    const settings = await parts.database.settings();
    const { compactedRevision } = look;
    parts.position = new LogPosition({ lastId, changeSeq, era, compactedRevision, settings });
    parts.purge.forget();
    parts.load.again();
    parts.sink.lost(this.#state());
  }

  #turn(hold: Hold): LogTurn {
    const end = deferred();
    this.#turnEnd = end.promise;
    // Looks that wait for the end go on once the engine has seen the outcome.
    const endTurn = (): void =>
      void setImmediate(() => {
        if (this.#turnEnd === end.promise) this.#turnEnd = undefined;
        end.resolve();
      });
    return {
      commit: (batch) => this.#commit(hold, batch).finally(endTurn),
      release: () => {
        hold.unlock();
        endTurn();
      },
    };
  }

  async #commit(hold: Hold, batch: LogBatch): Promise<void> {
    const { rows, leases, settings, compactedRevision, purgeIds } = batch;
    const { purge, poll, position } = this.#parts;
    const { cursor } = position;
    const isChanged = leases.length > 0 || settings.size > 0 || compactedRevision !== undefined;
    if (rows.length === 0 && !isChanged) {
      hold.unlock();
      return purge.run(purgeIds);
    }
    const sequenced: SequencedBatch = {
      memberId: this.#memberId,
      batchNumber: ++this.#batchNumber,
      rows,
      leases,
      settings,
      compactedRevision,
      lastId: rows.at(-1)?.id ?? cursor.id,
      changeSeq: cursor.changeSeq + (isChanged ? 1 : 0),
      era: position.era,
    };
    // Rows below an earlier compaction may go while the commit waits for the disk; rows below this one only after it.
    const purged = compactedRevision === undefined ? purge.run(purgeIds) : undefined;
    await Promise.all([hold.commit(sequenced, cursor), purged]);
    position.advance(sequenced);
    poll.noteActivity();
    if (compactedRevision !== undefined) await purge.run(purgeIds);
  }

  /** Another replica wrote. Errors are the next request's to report. */
  #wake(): void {
    if (this.#closed) return;
    this.readIndex().catch((error) => {
      this.#options.log.debug({ error: errorMessage(error) }, "cannot follow the other replicas");
    });
  }
}

const emptyBatch = { rows: [], leases: [], settings: new Map<string, string>(), compactedRevision: undefined };
