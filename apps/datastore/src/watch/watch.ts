import { type KeyRange, keyRange } from "../engine/key-range.ts";
import type { Key, Version } from "../engine/version.ts";
import type { WatchStream } from "./watch-stream.ts";

export interface WatchOptions {
  key: Key;
  rangeEnd: Key;
  prevKv: boolean;
  progressNotify: boolean;
  noPut: boolean;
  noDelete: boolean;
  fragment: boolean;
}

/** One watch of a stream. */
export class Watch {
  readonly id: number;
  readonly stream: WatchStream;
  readonly options: WatchOptions;
  readonly range: KeyRange;
  /**
   * First revision the watch has not been sent. Kept exact only while the watch is behind; a live watch has everything
   * the hub has delivered, and this only holds back a watch that starts in the future.
   */
  nextRevision: number;
  /** Follows the hub's deliveries; otherwise it catches up from the history. */
  live = false;
  /** Its stream was closed or it was cancelled. */
  ended = false;
  /** Waits for values it has asked the log for. */
  fetching = false;
  /** Got events since the last periodic progress. */
  active = false;

  constructor(id: number, stream: WatchStream, options: WatchOptions, nextRevision: number) {
    this.id = id;
    this.stream = stream;
    this.options = options;
    this.range = keyRange(options.key, options.rangeEnd);
    this.nextRevision = nextRevision;
  }

  wants(version: Version): boolean {
    return version.version === 0 ? !this.options.noDelete : !this.options.noPut;
  }
}
