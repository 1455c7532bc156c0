import type { EtcdClient } from "@keelson/etcd-client";
import { type Event, type Input, services, type WatchCreateRequest, type WatchResponse } from "@keelson/protocol/etcd";

/** What one watch was told, in order. */
export interface WatchRecord {
  request: Input<WatchCreateRequest>;
  created: WatchResponse;
  events: Event[];
  canceled: WatchResponse | undefined;
  /** Broken promises of the stream itself, which no other server is needed to see. */
  violations: string[];
}

interface WatchStream {
  send(message: { createRequest: Input<WatchCreateRequest> } | { cancelRequest: { watchId: number } }): void;
  cancel(): void;
}

const answerTimeoutMs = 10_000;

/** The watch stream of one server during one script: creates and cancels watches, and keeps what arrives. */
export class WatchLog {
  readonly records: WatchRecord[] = [];
  readonly #live = new Map<number, WatchRecord>();
  #stream: WatchStream | undefined;
  #creating: { request: Input<WatchCreateRequest>; done: (record: WatchRecord) => void } | undefined;
  #onChange: (() => void) | undefined;

  static async open(client: EtcdClient): Promise<WatchLog> {
    const log = new WatchLog();
    log.#stream = await client.stream(services.watch.watch, {
      onMessage: (response) => log.#receive(response),
      onEnd: (error) => {
        for (const record of log.#live.values()) record.violations.push(`the stream ended: ${error?.message ?? "OK"}`);
        log.#onChange?.();
      },
    });
    return log;
  }

  async create(request: Input<WatchCreateRequest>): Promise<WatchRecord> {
    const created = new Promise<WatchRecord>((done) => {
      this.#creating = { request, done };
    });
    this.#stream!.send({ createRequest: request });
    return inTime(created, "a watch was not created");
  }

  /** Cancels and waits for the answer, when there is such a watch. */
  async cancel(watchId: number): Promise<void> {
    const record = this.#live.get(watchId);
    this.#stream!.send({ cancelRequest: { watchId } });
    if (record !== undefined) await this.until(() => record.canceled !== undefined, "a watch was not canceled");
  }

  /** Waits until what has arrived satisfies `condition`. */
  async until(condition: () => boolean, complaint: string): Promise<void> {
    const satisfied = new Promise<void>((done) => {
      this.#onChange = () => {
        if (condition()) done();
      };
      this.#onChange();
    });
    await inTime(satisfied, complaint);
    this.#onChange = undefined;
  }

  close(): void {
    this.#live.clear();
    this.#stream!.cancel();
  }

  #receive(response: WatchResponse): void {
    if (response.created) this.#onCreated(response);
    else if (response.canceled) this.#onCanceled(response);
    else if (response.events.length > 0) this.#onEvents(response);
    this.#onChange?.();
  }

  #onCreated(response: WatchResponse): void {
    const creating = this.#creating;
    this.#creating = undefined;
    if (creating === undefined) return;
    const record = { request: creating.request, created: response, events: [], canceled: undefined, violations: [] };
    this.records.push(record);
    if (!response.canceled) this.#live.set(response.watchId, record);
    creating.done(record);
  }

  #onCanceled(response: WatchResponse): void {
    const record = this.#live.get(response.watchId);
    if (record === undefined) return;
    record.canceled = response;
    this.#live.delete(response.watchId);
  }

  #onEvents(response: WatchResponse): void {
    const record = this.#live.get(response.watchId);
    if (record === undefined) return;
    const { violations, events } = record;
    const newest = response.events.at(-1)!.kv!.modRevision;
    const before = events.at(-1)?.kv?.modRevision ?? 0;
    if (response.events[0]!.kv!.modRevision <= before && !response.fragment) {
      violations.push(`revision ${before} came again, or in two responses`);
    }
    if ((response.header?.revision ?? 0) < newest) {
      violations.push(`header revision ${response.header?.revision} is older than event revision ${newest}`);
    }
    events.push(...response.events);
  }
}

async function inTime<T>(promise: Promise<T>, complaint: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${complaint} within ${answerTimeoutMs} ms`)), answerTimeoutMs);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
