import { Backoff, errorCode, errorMessage, KeelsonError, type Logger } from "@keelson/service";
import type { Connection as PlainConnection } from "mysql2";
import mysql from "mysql2/promise";
import type { MysqlEndpoint } from "./mysql-endpoint.ts";
import { SqlFailure } from "./sql-database.ts";
import type { SqlObserver } from "./sql-observer.ts";
import { readTlsFiles } from "./tls-files.ts";

/** A column as the library reads it: a number beyond the safe integers comes as its digits. */
export type Cell = number | string | Buffer | null;
export type CellRow = Cell[];

export interface MysqlLinkOptions {
  endpoint: MysqlEndpoint;
  /** For messages. */
  role: string;
  /** A script is given up after this long, and the connection with it. */
  timeoutMs: number;
  observer: SqlObserver;
  log: Logger;
}

/** A transaction whose owner has stopped must not hold the lock for long. */
export const idleInTransactionSeconds = 2;
const lockWaitSeconds = 3;

/**
 * One connection that reconnects by itself when it is next used. A script is one or more statements in one packet, so that
 * a transaction takes one round trip. SQL text goes out byte for byte (connection charset `binary`): a key or value is a
 * quoted string of its bytes. While the database is down, use fails at once between attempts.
 */
export class MysqlLink {
  readonly #options: MysqlLinkOptions;
  readonly #backoff = new Backoff({ initialMs: 50, maxMs: 500 });
  #connection: mysql.Connection | undefined;
  #connecting: Promise<mysql.Connection> | undefined;
  #generation = 0;
  #failure: { error: unknown; untilMs: number } | undefined;
  #closed = false;
  /** What rejects the scripts that wait for an answer. */
  readonly #underWay = new Set<(reason: Error) => void>();

  constructor(options: MysqlLinkOptions) {
    this.#options = options;
  }

  /** Changes with each new connection: what a transaction must not outlive. */
  get generation(): number {
    return this.#generation;
  }

  /**
   * Runs a script; resolves with the rows of each statement (empty for those without a result). With a generation, only
   * on that connection. Rejects with a SqlFailure.
   */
  async run(name: string, text: string, generation?: number): Promise<CellRow[][]> {
    const connection = generation === undefined ? await this.#connect() : this.#connection;
    if (connection === undefined || (generation !== undefined && generation !== this.#generation)) {
      throw new SqlFailure("the connection with the transaction is gone", "retry", undefined);
    }
    const [result] = await this.#noteLoss(connection, name, () => this.#query(connection, text));
    return toResults(result);
  }

  /** Runs one SELECT and hands over its rows one at a time, while they arrive. Rejects with a SqlFailure. */
  async stream(name: string, text: string, onRow: (row: CellRow) => void): Promise<void> {
    const connection = await this.#connect();
    const read = new Promise<void>((resolve, reject) => {
      const rows = plain(connection).query({ sql: text, rowsAsArray: true });
      let failure: unknown;
      // What is thrown here would end up in the library's parser.
      rows.on("result", (row) => {
        try {
          if (failure === undefined) onRow(row as unknown as CellRow);
        } catch (error) {
          failure = error;
        }
      });
      rows.on("error", reject);
      rows.on("end", () => (failure === undefined ? resolve() : reject(failure)));
    });
    await this.#noteLoss(connection, name, () => this.#untilLost(connection, read));
  }

  /** Sends a script on the present connection, if there is one, and does not wait for it. */
  post(text: string): void {
    const connection = this.#connection;
    if (connection !== undefined) this.#query(connection, text).catch(() => this.#lose(connection));
  }

  async close(): Promise<void> {
    this.#closed = true;
    const connection = this.#connection;
    this.#connection = undefined;
    await connection?.end().catch(() => connection.destroy());
  }

  #query(connection: mysql.Connection, text: string): Promise<[unknown, unknown]> {
    return this.#untilLost(connection, connection.query({ sql: text, rowsAsArray: true }));
  }

  /** Lets go of a connection that a failure says is of no more use. */
  async #noteLoss<T>(connection: mysql.Connection, name: string, send: () => Promise<T>): Promise<T> {
    try {
      return await this.#options.observer.watch(name, send);
    } catch (error) {
      const failure = classify(error, this.#options.role);
      if (failure.fate === "unknown" || readOnlyErrors.has(errnoOf(error))) this.#lose(connection);
      throw failure;
    }
  }

  /** The library neither gives up waiting nor answers what was under way when a connection went away; this does both. */
  async #untilLost<T>(connection: mysql.Connection, answer: Promise<T>): Promise<T> {
    const { timeoutMs } = this.#options;
    // When the connection is lost first, nobody waits for this any more.
    answer.catch(() => undefined);
    let stop = (_reason: Error): void => {};
    const stopped = new Promise<never>((_resolve, reject) => {
      stop = reject;
    });
    const timer = setTimeout(() => {
      stop(new Error(`no answer within ${timeoutMs} ms`));
      this.#lose(connection);
    }, timeoutMs);
    this.#underWay.add(stop);
    try {
      return await Promise.race([answer, stopped]);
    } finally {
      clearTimeout(timer);
      this.#underWay.delete(stop);
    }
  }

  #lose(connection: mysql.Connection): void {
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    connection.destroy();
    for (const stop of this.#underWay) stop(new Error("the connection was lost"));
  }

  async #connect(): Promise<mysql.Connection> {
    if (this.#connection !== undefined) return this.#connection;
    if (this.#closed) throw new SqlFailure("the connection is closed", "refused", undefined);
    if (this.#failure !== undefined && performance.now() < this.#failure.untilMs) {
      throw new SqlFailure(errorMessage(this.#failure.error), "refused", this.#failure.error);
    }
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = undefined;
    });
    return await this.#connecting;
  }

  async #open(): Promise<mysql.Connection> {
    const { endpoint, role, log } = this.#options;
    try {
      const connection = await connectMysql(endpoint);
      connection.on("error", () => this.#lose(connection));
      connection.on("end", () => this.#lose(connection));
      if (this.#failure !== undefined) log.info({ role }, "connected to the MySQL server again");
      this.#failure = undefined;
      this.#backoff.reset();
      this.#connection = connection;
      this.#generation++;
      return connection;
    } catch (error) {
      if (this.#failure === undefined)
        log.warn({ role, error: errorMessage(error) }, "cannot connect to the MySQL server");
      this.#failure = { error, untilMs: performance.now() + this.#backoff.next() };
      throw new SqlFailure(errorMessage(error), "refused", error);
    }
  }
}

/** Connects and sets the session up. Rejects when the server is a read-only replica. */
export async function connectMysql(
  endpoint: MysqlEndpoint,
  database: string | undefined = endpoint.database,
): Promise<mysql.Connection> {
  const connection = await connectWithTls(endpoint, database);
  try {
    await connection.query(
      [
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        // Without it, what does not fit is silently cut off.
        "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ENGINE_SUBSTITUTION'",
        `SET SESSION innodb_lock_wait_timeout = ${lockWaitSeconds}`,
        "SET SESSION autocommit = 1",
      ].join("; "),
    );
    await trySetting(connection, `SET SESSION idle_transaction_timeout = ${idleInTransactionSeconds}`);
    await trySetting(connection, "SET SESSION innodb_snapshot_isolation = OFF");
    await trySetting(connection, "SET SESSION information_schema_stats_expiry = 0");
    return connection;
  } catch (error) {
    connection.destroy();
    throw error;
  }
}

/** Variables that only MariaDB or only MySQL has. */
async function trySetting(connection: mysql.Connection, statement: string): Promise<void> {
  try {
    await connection.query(statement);
  } catch (error) {
    if (errnoOf(error) !== unknownVariable) throw error;
  }
}

async function connectWithTls(endpoint: MysqlEndpoint, database: string | undefined): Promise<mysql.Connection> {
  const { address, user, password, tlsMode, tls, connectTimeoutMs: connectTimeout } = endpoint;
  const options: mysql.ConnectionOptions = {
    ...address,
    user,
    password,
    ...(database === undefined ? {} : { database }),
    charset: "binary",
    multipleStatements: true,
    connectTimeout,
    supportBigNumbers: true,
  };
  if (tlsMode === "disable") return await mysql.createConnection(options);
  const checked = readTlsFiles(tls, tlsMode === "verify" ? "full" : "none");
  const ssl = { ...checked, verifyIdentity: tlsMode === "verify" } as mysql.SslOptions;
  try {
    return await mysql.createConnection({ ...options, ssl });
  } catch (error) {
    if (tlsMode !== "preferred" || errorCode(error) !== "HANDSHAKE_NO_SSL_SUPPORT") throw error;
    return await mysql.createConnection(options);
  }
}

/** The connection that the library's promises wrap: only that one hands rows over as they come. Its types leave it out. */
function plain(connection: mysql.Connection): PlainConnection {
  return (connection as unknown as { connection: PlainConnection }).connection;
}

function toResults(result: unknown): CellRow[][] {
  if (!Array.isArray(result)) return [[]];
  // One statement with rows is an array of rows, and a row is an array; several are an array of results.
  const isScript = result.some((part) => !Array.isArray(part) || Array.isArray(part[0]) || part.length === 0);
  if (!isScript) return [result as CellRow[]];
  return result.map((part) => (Array.isArray(part) ? (part as CellRow[]) : []));
}

const unknownVariable = 1193;
/** `--read-only`, and InnoDB in read-only mode: another connection may lead to the new primary. */
const readOnlyErrors = new Set([1290, 1792, 1836]);
/**
 * Deadlock, lock wait, changed since the snapshot, Galera not ready, statement time-outs. After a lock wait only the
 * statement is rolled back; the caller always rolls back the rest.
 */
const passingErrors = new Set([1213, 1205, 1020, 1047, 3024, 1969]);
/** Shutdown, killed and aborted connections: what became of the transaction is not known. */
const connectionErrors = new Set([1053, 1077, 1079, 1152, 1184, 1927, 4031]);

function classify(error: unknown, role: string): SqlFailure {
  if (error instanceof SqlFailure) return error;
  const errno = errnoOf(error);
  const message = `MySQL ${role}: ${errorMessage(error)}`;
  const isServerError = errno >= 1_000 && (errno < 2_000 || errno >= 3_000) && !connectionErrors.has(errno);
  if (!isServerError) return new SqlFailure(message, "unknown", error);
  return new SqlFailure(message, passingErrors.has(errno) ? "retry" : "refused", error);
}

export function errnoOf(error: unknown): number {
  if (typeof error !== "object" || error === null || !("errno" in error)) return 0;
  return typeof error.errno === "number" ? error.errno : 0;
}

/** The error for people when the database cannot be opened at all. */
export function cannotOpen({ address, database }: MysqlEndpoint, error: unknown): KeelsonError {
  if (error instanceof KeelsonError) return error;
  const where = "host" in address ? `${address.host}:${address.port}` : address.socketPath;
  return new KeelsonError(
    "datastore/open",
    `cannot open the MySQL database ${database} at ${where}: ${errorMessage(error)}`,
    {
      hint: hintFor(error),
      cause: error,
    },
  );
}

function hintFor(error: unknown): string {
  switch (errnoOf(error)) {
    case 1044:
    case 1045:
    case 1142:
      return "check the user and password in the endpoint; the user needs all rights on the database";
    case 1071:
    case 1709:
      return "the table's row format is too old for its index; run ALTER TABLE kine ROW_FORMAT=DYNAMIC";
    case 1290:
    case 1836:
      return "the server is read-only; name the primary";
  }
  return errorCode(error) === "ECONNREFUSED"
    ? "check that the server runs and that the endpoint's address is right"
    : "check the endpoint and the server's log";
}
