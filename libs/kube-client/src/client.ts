import type { IncomingMessage } from "node:http";
import { errorMessage } from "@keelson/service";
import { KubeError } from "./errors.ts";
import { type KubeTarget, type RawRequest, readBody, Transport } from "./transport.ts";
import { type KubeList, type KubeObject, type ResourceRef, resourcePath } from "./types.ts";
import { type WatchEvent, watchStream } from "./watch.ts";

export type KubeClientOptions = KubeTarget & {
  /** Sent as User-Agent, which audit logs and some servers look at. */
  userAgent?: string;
  /** Milliseconds a call may take (10 000); watches are not limited. */
  timeoutMs?: number;
};

export interface ListOptions {
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
  resourceVersion?: string;
  limit?: number;
  continue?: string;
}

export interface WatchOptions extends Omit<ListOptions, "limit" | "continue"> {
  allowWatchBookmarks?: boolean;
  timeoutSeconds?: number;
  signal?: AbortSignal;
}

export type PatchType = "merge" | "strategic" | "json" | "apply";

const patchContentTypes: Record<PatchType, string> = {
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
  json: "application/json-patch+json",
  apply: "application/apply-patch+yaml",
};

/** A thin typed client of the Kubernetes API. Every call rejects with {@link KubeError}. */
export interface KubeClient {
  get<T extends KubeObject>(ref: ResourceRef, name: string, namespace?: string): Promise<T>;
  list<T extends KubeObject>(ref: ResourceRef, options?: ListOptions): Promise<KubeList<T>>;
  create<T extends KubeObject>(ref: ResourceRef, object: T, namespace?: string): Promise<T>;
  update<T extends KubeObject>(ref: ResourceRef, object: T, subresource?: string): Promise<T>;
  patch<T extends KubeObject>(
    ref: ResourceRef,
    name: string,
    patch: unknown,
    options?: { namespace?: string; type?: PatchType; subresource?: string },
  ): Promise<T>;
  delete(
    ref: ResourceRef,
    name: string,
    options?: { namespace?: string; preconditions?: { uid?: string; resourceVersion?: string } },
  ): Promise<void>;
  /** Events from a resource version on; ends when the server ends the watch. Throws KubeError 410 when that version is gone. */
  watch<T extends KubeObject>(ref: ResourceRef, options?: WatchOptions): AsyncGenerator<WatchEvent<T>, void, void>;
  /** Any request; a JSON body is parsed, `text/plain` comes as a string. Rejects unless the status is 2xx. */
  raw<T = unknown>(method: string, path: string, body?: unknown, contentType?: string): Promise<T>;
  /** Like {@link raw}, but resolves with whatever the server answers, as a stream. */
  send(request: RawRequest): Promise<IncomingMessage>;
  retarget(target: KubeTarget): void;
  close(): void;
}

const defaultTimeoutMs = 10_000;

export function createKubeClient(options: KubeClientOptions): KubeClient {
  return new HttpKubeClient(options);
}

class HttpKubeClient implements KubeClient {
  readonly #transport: Transport;
  readonly #headers: Record<string, string>;
  readonly #timeoutMs: number;

  constructor(options: KubeClientOptions) {
    this.#transport = new Transport(options);
    this.#headers = { accept: "application/json", "user-agent": options.userAgent ?? "keelson" };
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  }

  get<T extends KubeObject>(ref: ResourceRef, name: string, namespace?: string): Promise<T> {
    return this.raw("GET", resourcePath(ref, namespace, name));
  }

  list<T extends KubeObject>(ref: ResourceRef, options: ListOptions = {}): Promise<KubeList<T>> {
    return this.raw("GET", resourcePath(ref, options.namespace) + query(options));
  }

  create<T extends KubeObject>(ref: ResourceRef, object: T, namespace = object.metadata.namespace): Promise<T> {
    return this.raw("POST", resourcePath(ref, namespace), object);
  }

  update<T extends KubeObject>(ref: ResourceRef, object: T, subresource?: string): Promise<T> {
    const { namespace, name } = object.metadata;
    return this.raw("PUT", resourcePath(ref, namespace, name, subresource), object);
  }

  patch<T extends KubeObject>(
    ref: ResourceRef,
    name: string,
    patch: unknown,
    options: { namespace?: string; type?: PatchType; subresource?: string } = {},
  ): Promise<T> {
    const path = resourcePath(ref, options.namespace, name, options.subresource);
    return this.raw("PATCH", path, patch, patchContentTypes[options.type ?? "merge"]);
  }

  async delete(
    ref: ResourceRef,
    name: string,
    options: { namespace?: string; preconditions?: { uid?: string; resourceVersion?: string } } = {},
  ): Promise<void> {
    const { namespace, preconditions } = options;
    const body = preconditions && { kind: "DeleteOptions", apiVersion: "v1", preconditions };
    await this.raw("DELETE", resourcePath(ref, namespace, name), body);
  }

  async *watch<T extends KubeObject>(
    ref: ResourceRef,
    options: WatchOptions = {},
  ): AsyncGenerator<WatchEvent<T>, void, void> {
    const { signal, ...parameters } = options;
    const path = resourcePath(ref, options.namespace) + query({ ...parameters, watch: true });
    const call: RawRequest = { method: "GET", path, headers: this.#headers };
    const response = await this.#transport.send(signal === undefined ? call : { ...call, signal });
    if (response.statusCode !== 200) throw await failure(response, "GET", path);
    yield* watchStream<T>(response);
  }

  async raw<T = unknown>(method: string, path: string, body?: unknown, contentType = "application/json"): Promise<T> {
    const headers: Record<string, string> = { ...this.#headers };
    const call: RawRequest = { method, path, headers, timeoutMs: this.#timeoutMs };
    if (body !== undefined) {
      const bytes = Buffer.from(JSON.stringify(body));
      headers["content-type"] = contentType;
      headers["content-length"] = String(bytes.length);
      call.body = bytes;
    }
    const response = await this.#transport.send(call);
    const status = response.statusCode ?? 0;
    if (status < 200 || status > 299) throw await failure(response, method, path);
    const text = await bodyText(response, path);
    return (isJson(response) ? JSON.parse(text) : text) as T;
  }

  send(request: RawRequest): Promise<IncomingMessage> {
    return this.#transport.send({ ...request, headers: { ...this.#headers, ...request.headers } });
  }

  retarget(target: KubeTarget): void {
    this.#transport.retarget(target);
  }

  close(): void {
    this.#transport.close();
  }
}

function query(parameters: object): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && name !== "namespace") search.set(name, String(value));
  }
  return search.size === 0 ? "" : `?${search}`;
}

function isJson(response: IncomingMessage): boolean {
  return response.headers["content-type"]?.startsWith("application/json") ?? false;
}

async function bodyText(response: IncomingMessage, path: string): Promise<string> {
  try {
    return (await readBody(response)).toString("utf8");
  } catch (cause) {
    throw new KubeError(0, "", `the Kubernetes API broke off its answer to ${path}`, { cause });
  }
}

async function failure(response: IncomingMessage, method: string, path: string): Promise<KubeError> {
  const status = response.statusCode ?? 0;
  const text = await bodyText(response, path);
  const retryAfter = Number(response.headers["retry-after"]);
  const options = Number.isFinite(retryAfter) && retryAfter > 0 ? { retryAfterSeconds: retryAfter } : {};
  const parsed = isJson(response) ? parseStatus(text) : undefined;
  const message = parsed?.message ?? (text.trim().slice(0, 200) || `HTTP ${status}`);
  return new KubeError(status, parsed?.reason ?? "", `${method} ${path.split("?")[0]}: ${message}`, options);
}

function parseStatus(text: string): { message?: string; reason?: string } | undefined {
  try {
    return JSON.parse(text) as { message?: string; reason?: string };
  } catch (error) {
    return { message: `unreadable Status: ${errorMessage(error)}` };
  }
}
