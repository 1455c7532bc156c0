/**
 * The background client of a fault suite. Runs inside a container that shares an agent's network, with Node alone: it
 * creates ConfigMaps one after the other through the agent's load balancer, watches them, and prints what it saw, one JSON
 * line each. SIGTERM makes it stop writing, list everything once and end.
 *
 * Environment: SERVER (https://127.0.0.1:6444), CA, CERT, KEY (PEM), PERIOD_MS between two writes.
 */
import { Agent, type RequestOptions, request } from "node:https";
import type { Observation } from "./observation.ts";

const server = new URL(process.env.SERVER ?? "https://127.0.0.1:6444");
const periodMs = Number(process.env.PERIOD_MS ?? 50);
const attemptTimeoutMs = 1_000;
const collection = "/api/v1/namespaces/default/configmaps";
const tls = { ca: process.env.CA, cert: process.env.CERT, key: process.env.KEY };
const agent = new Agent({ keepAlive: true, ...tls });
let stopping = false;

interface Reply {
  status: number;
  body: Record<string, unknown>;
}

function emit(observation: Observation): void {
  process.stdout.write(`${JSON.stringify(observation)}\n`);
}

function call(method: string, path: string, body?: unknown, timeoutMs = attemptTimeoutMs): Promise<Reply> {
  const options: RequestOptions = {
    method,
    agent,
    headers: { "content-type": "application/json" },
    signal: AbortSignal.timeout(timeoutMs),
  };
  return new Promise((resolve, reject) => {
    const req = request(new URL(path, server), options, (res) => {
      let text = "";
      res.setEncoding("utf8");
      res.on("data", (chunk: string) => {
        text += chunk;
      });
      res.on("end", () => {
        try {
          resolve({ status: res.statusCode ?? 0, body: JSON.parse(text) as Reply["body"] });
        } catch (error) {
          reject(error);
        }
      });
      res.on("error", reject);
    });
    req.on("error", reject);
    req.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function revisionOf(body: Record<string, unknown>): number {
  return Number((body.metadata as Record<string, unknown> | undefined)?.resourceVersion ?? 0);
}

async function write(): Promise<void> {
  for (let sequence = 1; !stopping; sequence++) {
    const name = `seen-${String(sequence).padStart(6, "0")}`;
    const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name, labels: { run: "e2e" } }, data: { name } };
    for (let attempt = 1; ; attempt++) {
      try {
        const { status, body } = await call("POST", collection, object);
        // "Already exists" after a failed attempt: that attempt was carried out and only its answer was lost.
        if (status === 201 || (status === 409 && attempt > 1)) {
          emit({ kind: "acknowledged", name, revision: revisionOf(body), atMs: Date.now(), attempts: attempt });
          break;
        }
        emit({ kind: "refused", name, reason: `${status} ${String(body.message ?? "")}`, atMs: Date.now() });
      } catch (error) {
        emit({ kind: "refused", name, reason: String(error), atMs: Date.now() });
      }
      if (stopping) return;
      await pause(20);
    }
    await pause(periodMs);
  }
}

async function list(): Promise<{ revision: number; names: string[] }> {
  for (;;) {
    try {
      const { status, body } = await call("GET", `${collection}?labelSelector=run%3De2e`, undefined, 10_000);
      if (status === 200) {
        const items = body.items as { metadata: { name: string } }[];
        return { revision: revisionOf(body), names: items.map((item) => item.metadata.name) };
      }
    } catch {
      // The server is away; the writer reports that, here it is only waited for.
    }
    await pause(100);
  }
}

/** Watches for ever; a lost watch goes on from the last revision it saw, so nothing in between may be missing. */
async function watch(): Promise<void> {
  let { revision, names } = await list();
  for (const name of names) emit({ kind: "listed", name, atMs: Date.now() });
  while (!stopping) {
    const expired = await new Promise<boolean>((resolve) => {
      let isExpired = false;
      let rest = "";
      let silence = setTimeout(() => undefined, 0);
      const path = `${collection}?watch=1&labelSelector=run%3De2e&allowWatchBookmarks=true&resourceVersion=${revision}`;
      const req = request(new URL(path, server), { ...tls, agent: new Agent({ ...tls }) }, (res) => {
        if (res.statusCode !== 200) {
          // Not a watch but its refusal: 410 says that the revision is gone, anything else that it is to be tried again.
          isExpired = res.statusCode === 410;
          req.destroy();
          done();
          return;
        }
        res.setEncoding("utf8");
        res.on("data", (chunk: string) => {
          alive();
          const lines = (rest + chunk).split("\n");
          rest = lines.pop() ?? "";
          for (const line of lines) {
            const { type, object } = JSON.parse(line) as { type: string; object: Record<string, unknown> };
            if (type === "ERROR") {
              isExpired = (object.code as number) === 410;
              req.destroy();
              return;
            }
            revision = Math.max(revision, revisionOf(object));
            if (type === "BOOKMARK") continue;
            const { name } = object.metadata as { name: string };
            emit({ kind: "watched", type, name, revision: revisionOf(object), atMs: Date.now() });
          }
        });
        res.on("close", () => done());
        res.on("error", () => done());
      });
      // While writes go on, a watch that says nothing hangs on a peer that is gone without a word.
      const alive = (): void => {
        clearTimeout(silence);
        silence = setTimeout(() => req.destroy(), 3_000);
      };
      const done = (): void => {
        clearTimeout(silence);
        resolve(isExpired);
      };
      alive();
      req.on("error", () => done());
      req.end();
    });
    if (expired) {
      ({ revision, names } = await list());
      emit({ kind: "expired", atMs: Date.now() });
      for (const name of names) emit({ kind: "listed", name, atMs: Date.now() });
    }
    await pause(50);
  }
}

process.on("SIGTERM", () => {
  stopping = true;
});

const watching = watch();
await write();
// The watch gets the time to see the last write.
await Promise.race([watching, pause(3_000)]);
const final = await list();
emit({ kind: "final", names: final.names, atMs: Date.now() });
process.exit(0);
