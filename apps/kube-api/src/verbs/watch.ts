import { apiErrors, toApiError } from "../http/api-error.ts";
import { partial } from "../http/respond.ts";
import { type ApiObject, apiVersionOf } from "../kinds/kind.ts";
import { inVersion } from "../kinds/versions.ts";
import { encodeWatchFrame, protobufType } from "../protobuf/envelope.ts";
import type { StoreEvent } from "../storage/store-event.ts";
import type { Subscription } from "../storage/watch-hub.ts";
import { renderTable } from "../table/render.ts";
import type { Call } from "./call.ts";
import { parseListOptions } from "./list-options.ts";
import { readList, type Selection, selectionOf, selects } from "./read.ts";

type WatchType = "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";

/** A watcher that does not read is cut off at this many unsent bytes; it comes back where it was. */
const maxPendingBytes = 16 * 1024 * 1024;
const bookmarkIntervalMs = 30_000;
/** Time given to the datastore to say how far it is before a bookmark is sent. */
const progressWaitMs = 500;
/** Servers end watches after a random time, so that clients spread again over servers. Source: apiserver min-request-timeout. */
const minTimeoutSeconds = 1_800;

/** Streams changes, one JSON object a line, until the client leaves or the timeout passes. */
export async function watch(call: Call): Promise<void> {
  const { info, context } = call;
  const selection = selectionOf(call);
  const options = parseListOptions(info.query, "watch");
  const { resourceVersion: asked, sendInitialEvents: wantsInitial } = options;
  const startsAtNow = asked === "" || asked === "0";
  const stream = new WatchStream(call, selection);
  if (startsAtNow || wantsInitial) {
    const initial = await readList(call, { ...options, limit: 0, continue: "" });
    stream.open();
    for (const object of initial.items) stream.send("ADDED", object);
    if (wantsInitial) stream.bookmark(initial.revision, { "k8s.io/initial-events-end": "true" });
    stream.follow(initial.revision);
  } else {
    const current = await context.store.currentRevision();
    if (Number(asked) > current) throw apiErrors.tooLargeResourceVersion(Number(asked), current);
    stream.open();
    stream.follow(Number(asked));
  }
}

class WatchStream {
  readonly #call: Call;
  readonly #selection: Selection;
  readonly #wantsBookmarks: boolean;
  #subscription: Subscription | undefined;
  #timers: NodeJS.Timeout[] = [];
  #isOver = false;
  /** kubectl wants the column definitions once. */
  #hasSentColumns = false;

  constructor(call: Call, selection: Selection) {
    this.#call = call;
    this.#selection = selection;
    this.#wantsBookmarks = call.info.query.get("allowWatchBookmarks") === "true";
  }

  open(): void {
    const { response, format } = this.#call;
    const contentType = format.encoding === "json" ? "application/json" : `${protobufType};stream=watch`;
    response.writeHead(200, { "content-type": contentType, "cache-control": "no-cache, private" });
    response.flushHeaders();
    response.on("close", () => this.#stop());
  }

  follow(revision: number): void {
    if (this.#isOver) return;
    const { context, kind, info, response } = this.#call;
    this.#subscription = context.hub.subscribe(kind, revision, {
      onEvent: (event) => this.#onEvent(event),
      onEnd: (error) => this.#fail(error),
    });
    const given = Number(info.query.get("timeoutSeconds"));
    const seconds = given > 0 ? given : minTimeoutSeconds * (1 + Math.random());
    this.#timers.push(setTimeout(() => response.end(), seconds * 1_000));
    if (this.#wantsBookmarks) this.#timers.push(setInterval(() => this.#askForBookmark(), bookmarkIntervalMs));
  }

  send(type: WatchType, object: ApiObject): void {
    this.#write(this.#encode(type, this.#shown(object)));
  }

  #shown(object: ApiObject): object {
    const { format, kind, info, context } = this.#call;
    const versioned = inVersion(object, kind, info.version);
    if (format.as === "object") return versioned;
    if (format.as === "partial") return partial(versioned);
    const { resourceVersion } = object.metadata;
    const include = info.query.get("includeObject");
    const table = renderTable(kind, [versioned], { resourceVersion }, context.clock.now(), include);
    if (this.#hasSentColumns) table.columnDefinitions = [];
    this.#hasSentColumns = true;
    return table;
  }

  bookmark(revision: number, annotations?: Record<string, string>): void {
    const { kind, info, format } = this.#call;
    const metadata = {
      resourceVersion: String(revision),
      creationTimestamp: null,
      ...(annotations && { annotations }),
    };
    const type =
      format.as === "partial"
        ? { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1" }
        : { kind: kind.kind, apiVersion: apiVersionOf(kind.group, info.version) };
    this.#write(this.#encode("BOOKMARK", { ...type, metadata }));
  }

  /** An object that starts or stops matching the selection appears or goes, whatever happened to it. */
  #onEvent(event: StoreEvent): void {
    try {
      const { object, previous } = event;
      const before = previous !== undefined && selects(this.#selection, previous);
      const after = !event.isDelete && object !== undefined && selects(this.#selection, object);
      if (after) this.#pass(event, before ? "MODIFIED" : "ADDED", object);
      else if (before) this.#pass(event, "DELETED", event.isDelete ? object! : previous);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Watchers of the same form share the bytes; a table belongs to one watcher, since only its first has column names. */
  #pass(event: StoreEvent, type: WatchType, object: ApiObject): void {
    const { format, info } = this.#call;
    if (format.as === "table") {
      this.send(type, object);
      return;
    }
    const form = `${type} ${info.group}/${info.version} ${format.encoding} ${format.as}`;
    this.#write(event.written(form, () => this.#encode(type, this.#shown(object))));
  }

  #askForBookmark(): void {
    this.#subscription?.requestProgress();
    setTimeout(() => {
      if (this.#subscription !== undefined && !this.#isOver) this.bookmark(this.#subscription.revision);
    }, progressWaitMs).unref();
  }

  #encode(type: WatchType, object: object): Buffer {
    return this.#call.format.encoding === "json"
      ? Buffer.from(`${JSON.stringify({ type, object })}\n`)
      : encodeWatchFrame(type, object as Record<string, unknown>);
  }

  #write(bytes: Buffer): void {
    const { response } = this.#call;
    if (this.#isOver) return;
    response.write(bytes);
    if (response.writableLength > maxPendingBytes) response.destroy();
  }

  #fail(error: unknown): void {
    if (this.#isOver) return;
    this.#write(this.#encode("ERROR", toApiError(error).toStatus()));
    this.#call.response.end();
    this.#stop();
  }

  #stop(): void {
    this.#isOver = true;
    this.#subscription?.cancel();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [];
  }
}
