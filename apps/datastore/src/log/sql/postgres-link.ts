import { Backoff, errorCode, errorMessage, type Logger } from "@keelson/service";
import type pg from "pg";
import { connectPrimary, ignoreEnd, sessionSettings } from "./postgres-connect.ts";
import { type BinaryRow, PostgresCopy } from "./postgres-copy.ts";
import type { PostgresEndpoint } from "./postgres-endpoint.ts";
import { SqlFailure } from "./sql-database.ts";
import type { SqlObserver } from "./sql-observer.ts";

/** A row as PostgreSQL prints it: text or NULL for each column. */
export type TextRow = (string | null)[];

export interface Statement {
  /** Name of the prepared statement, also the label of its metrics. */
  name: string;
  text: string;
}

/** A statement with its parameters. */
export type Step = [statement: Statement, values?: readonly unknown[]];

export interface PostgresLinkOptions {
  endpoint: PostgresEndpoint;
  /** For messages and for `application_name`. */
  role: string;
  /** The server gives a statement up after this long. */
  statementTimeoutMs: number;
  observer: SqlObserver;
  log: Logger;
  /** Channel to LISTEN on. */
  channel?: string;
  onNotification?: (payload: string) => void;
  /** A new connection stands, LISTEN included. */
  onConnected?: () => void;
}

/** Beyond the server's own limit: the server, or the way to it, hangs. */
const answerGraceMs = 1_000;

/**
 * One connection that reconnects by itself when it is next used. Statements are sent at once and answered in order
 * (pipelined), so that a transaction of several statements takes one round trip. While the database is down, use fails at
 * once between attempts.
 */
export class PostgresLink {
  readonly #options: PostgresLinkOptions;
  readonly #backoff = new Backoff({ initialMs: 50, maxMs: 500 });
  #client: pg.Client | undefined;
  #connecting: Promise<pg.Client> | undefined;
  #generation = 0;
  #failure: { error: unknown; untilMs: number } | undefined;
  #closed = false;

  constructor(options: PostgresLinkOptions) {
    this.#options = options;
  }

  get connected(): boolean {
    return this.#client !== undefined;
  }

  /** Changes with each new connection: what a transaction must not outlive. */
  get generation(): number {
    return this.#generation;
  }

  /** Sends a prepared statement. Parameters that are Buffers go in binary format. Rejects with a SqlFailure. */
  async query({ name, text }: Statement, values: readonly unknown[] = []): Promise<TextRow[]> {
    return (await this.#send({ name, text, values: values as unknown[] }, name)).rows;
  }

  /**
   * Sends statements in one go; resolves with their command tags (COMMIT, ROLLBACK, …) and rows. With a generation, only
   * on that connection.
   */
  async pipeline(steps: readonly Step[], generation?: number): Promise<{ command: string; rows: TextRow[] }[]> {
    const client = generation === undefined ? await this.#connection() : this.#client;
    if (client === undefined || (generation !== undefined && generation !== this.#generation)) {
      throw new SqlFailure("the connection with the transaction is gone", "retry", undefined);
    }
    return all(
      steps.map(([{ name, text }, values = []]) => this.#sendOn(client, { name, text, values: [...values] }, name)),
    );
  }

  /** Copies the rows of a SELECT out, one at a time; see {@link PostgresCopy}. Rejects with a SqlFailure. */
  async copy({ name, text }: Statement, onRow: (row: BinaryRow) => void): Promise<void> {
    const client = await this.#connection();
    const timeoutMs = this.#options.statementTimeoutMs + answerGraceMs;
    const run = (): Promise<void> =>
      new Promise((resolve, reject) => {
        const done = (error: unknown): void => (error ? reject(error) : resolve());
        client.query(new PostgresCopy(text, timeoutMs, onRow, done));
      });
    await this.#noteLoss(client, () => this.#options.observer.watch(name, run));
  }

  /** Several statements without parameters, or DDL. Not prepared. */
  async script(name: string, text: string): Promise<TextRow[]> {
    return (await this.#send({ text }, name)).rows;
  }

  /** Sends a statement on the present connection, if there is one, and does not wait for it. */
  post(text: string): void {
    this.#client?.query({ text }).catch(() => this.drop());
  }

  /** Lets go of the connection; the next use makes a new one. */
  drop(): void {
    const client = this.#client;
    this.#client = undefined;
    client?.end().catch(ignoreEnd);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const client = this.#client;
    this.#client = undefined;
    await client?.end();
  }

  async #send(config: pg.QueryConfig, name: string): Promise<{ command: string; rows: TextRow[] }> {
    return this.#sendOn(await this.#connection(), config, name);
  }

  async #sendOn(
    client: pg.Client,
    config: pg.QueryConfig,
    name: string,
  ): Promise<{ command: string; rows: TextRow[] }> {
    const run = (): Promise<pg.QueryArrayResult<TextRow>> =>
      client.query<TextRow>({
        ...config,
        rowMode: "array",
        types: asText,
        query_timeout: this.#options.statementTimeoutMs + answerGraceMs,
      } as pg.QueryArrayConfig);
    const result = await this.#noteLoss(client, () => this.#options.observer.watch(name, run));
    const last = Array.isArray(result) ? (result.at(-1) as pg.QueryArrayResult<TextRow>) : result;
    return { command: last.command, rows: last.rows };
  }

  /** Lets go of a connection that a failure says is of no more use. */
  async #noteLoss<T>(client: pg.Client, send: () => Promise<T>): Promise<T> {
    try {
      return await send();
    } catch (error) {
      const failure = classify(error, this.#options.role);
      if (failure.fate === "unknown" || errorCode(error) === readOnlyTransaction) this.#lose(client);
      throw failure;
    }
  }

  #lose(client: pg.Client): void {
    if (this.#client !== client) return;
    this.drop();
  }

  #connection(): pg.Client | Promise<pg.Client> {
    if (this.#client !== undefined) return this.#client;
    if (this.#closed) throw new SqlFailure("the connection is closed", "refused", undefined);
    if (this.#failure !== undefined && performance.now() < this.#failure.untilMs) {
      throw new SqlFailure(errorMessage(this.#failure.error), "refused", this.#failure.error);
    }
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(): Promise<pg.Client> {
    try {
      const client = await connectPrimary(this.#options.endpoint, this.#options.role);
      await client.query(sessionSettings(this.#options.statementTimeoutMs));
      client.on("error", () => this.#lose(client));
      client.on("end", () => this.#lose(client));
      if (this.#options.channel !== undefined) {
        client.on("notification", ({ payload }) => this.#options.onNotification?.(payload ?? ""));
        await client.query(`LISTEN ${this.#options.channel}`);
      }
      if (this.#failure !== undefined)
        this.#options.log.info({ role: this.#options.role }, "connected to PostgreSQL again");
      this.#failure = undefined;
      this.#backoff.reset();
      this.#client = client;
      this.#generation++;
      this.#options.onConnected?.();
      return client;
    } catch (error) {
      if (this.#failure === undefined) {
        this.#options.log.warn(
          { role: this.#options.role, error: errorMessage(error) },
          "cannot connect to PostgreSQL",
        );
      }
      this.#failure = { error, untilMs: performance.now() + this.#backoff.next() };
      throw new SqlFailure(errorMessage(error), "refused", error);
    }
  }
}

const readOnlyTransaction = "25006";

/** Everything as PostgreSQL prints it; the driver knows its columns. */
const asText = { getTypeParser: () => (text: string) => text } as unknown as pg.CustomTypesConfig;

/** Waits for all, so that no later answer rejects unheard, and then throws the first failure. */
async function all<T>(promises: Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(promises);
  // The statements behind a failed one are told only that the transaction is aborted.
  for (const result of results) if (result.status === "rejected") throw result.reason;
  return results.map((result) => (result as PromiseFulfilledResult<T>).value);
}

/**
 * A server that names a reason has rolled the transaction back, unless it was going down (57P0x, 08xxx); a connection that
 * breaks says nothing.
 */
function classify(error: unknown, role: string): SqlFailure {
  if (error instanceof SqlFailure) return error;
  const code = errorCode(error);
  const message = `PostgreSQL ${role}: ${errorMessage(error)}`;
  if (code === undefined || !sqlState.test(code) || code.startsWith("57P") || code.startsWith("08")) {
    return new SqlFailure(message, "unknown", error);
  }
  return new SqlFailure(message, passingStates.has(code) ? "retry" : "refused", error);
}

const sqlState = /^[0-9A-Z]{5}$/;
/** Serialization failure, deadlock, lock and statement time-out, aborted transaction, too many connections. */
const passingStates = new Set(["40001", "40P01", "55P03", "57014", "25P02", "53300"]);
