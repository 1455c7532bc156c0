import { mkdtemp } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  createInformer,
  createKubeClient,
  isExpired,
  isNotFound,
  type KubeClient,
  type KubeObject,
  resources,
} from "../src/index.ts";

/** A small API on a Unix socket: `routes` answer by `METHOD path`. */
describe("the Kubernetes client", () => {
  let routes: Record<string, (req: IncomingMessage, res: ServerResponse, body: string) => void>;
  let client: KubeClient;
  let close: () => Promise<void>;

  beforeEach(async () => {
    routes = {};
    const server = createServer(async (req, res) => {
      let body = "";
      for await (const chunk of req) body += chunk;
      const route = routes[`${req.method} ${req.url}`] ?? routes[`${req.method} ${req.url?.split("?")[0]}`];
      if (route === undefined) send(res, 404, { kind: "Status", reason: "NotFound", message: "not found" });
      else route(req, res, body);
    });
    const socketPath = join(await mkdtemp(join(tmpdir(), "keelson-kube-")), "api.sock");
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    client = createKubeClient({ socketPath });
    close = async () => {
      client.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    };
  });
  afterEach(() => close());

  it("names the object and the server's reason in an error", async () => {
    const error = await client.get(resources.nodes, "a").catch((caught: unknown) => caught);
    expect(isNotFound(error)).toBe(true);
    expect(error).toMatchObject({ status: 404, message: "GET /api/v1/nodes/a: not found" });
    const unreachable = createKubeClient({ socketPath: "/nonexistent.sock" });
    await expect(unreachable.get(resources.nodes, "a")).rejects.toMatchObject({ code: "kube/unreachable", status: 0 });
  });

  it("sends the content type of a patch and escapes names", async () => {
    routes["PATCH /api/v1/namespaces/kube-system/secrets/a%2Fb/status"] = (req, res, body) =>
      send(res, 200, { type: req.headers["content-type"], body: JSON.parse(body) });
    const answer = await client.patch(
      resources.secrets,
      "a/b",
      { x: 1 },
      { namespace: "kube-system", type: "strategic", subresource: "status" },
    );
    expect(answer).toEqual({ type: "application/strategic-merge-patch+json", body: { x: 1 } });
  });

  it("throws the 410 that a watch carries", async () => {
    routes["GET /api/v1/nodes"] = (_req, res) => {
      res.write(`${JSON.stringify({ type: "ADDED", object: node("a", "1") })}\n`);
      res.end(`${JSON.stringify({ type: "ERROR", object: { code: 410, reason: "Expired", message: "too old" } })}\n`);
    };
    const seen: string[] = [];
    const watch = (async () => {
      for await (const event of client.watch(resources.nodes)) seen.push(event.object.metadata.name);
    })();
    expect(isExpired(await watch.catch((error: unknown) => error))).toBe(true);
    expect(seen).toEqual(["a"]);
  });

  it("keeps a copy through an expired watch: what vanished meanwhile is removed", async () => {
    let lists = 0;
    let watches = 0;
    routes["GET /api/v1/nodes"] = (req, res) => {
      if (!req.url?.includes("watch=true")) {
        lists++;
        return send(res, 200, {
          metadata: { resourceVersion: String(lists) },
          items: lists === 1 ? [node("a", "1")] : [node("c", "9")],
        });
      }
      watches++;
      if (watches === 1) {
        res.write(`${JSON.stringify({ type: "ADDED", object: node("b", "2") })}\n`);
        res.end(`${JSON.stringify({ type: "ERROR", object: { code: 410 } })}\n`);
      } else res.write("\n");
    };
    const informer = createInformer(client, resources.nodes);
    const changes: string[] = [];
    const settled = new Promise<void>((resolve) => {
      informer.onChange(({ key, object }) => {
        changes.push(`${object === undefined ? "-" : "+"}${key}`);
        if (changes.length === 5) resolve();
      });
    });
    informer.start();
    await settled;
    expect(changes).toEqual(["+a", "+b", "+c", "-a", "-b"]);
    expect(informer.list().map((object) => object.metadata.name)).toEqual(["c"]);
    informer.stop();
  });

  it("lists again when the server has not come that far: its datastore may count anew", async () => {
    let lists = 0;
    routes["GET /api/v1/nodes"] = (req, res) => {
      if (req.url?.includes("resourceVersion=9000")) {
        return send(res, 504, { kind: "Status", reason: "Timeout", message: "Too large resource version: 9000" });
      }
      if (req.url?.includes("watch=true")) return void res.write("\n");
      lists++;
      const [name, version] = lists === 1 ? ["old", "9000"] : ["new", "3"];
      send(res, 200, { metadata: { resourceVersion: version }, items: [node(name!, version!)] });
    };
    const informer = createInformer(client, resources.nodes);
    const renewed = new Promise<void>((resolve) => {
      informer.onChange(({ key, object }) => {
        if (key === "old" && object === undefined) resolve();
      });
    });
    informer.start();
    await renewed;
    expect(informer.list().map((object) => object.metadata.name)).toEqual(["new"]);
    informer.stop();
  });
});

function node(name: string, resourceVersion: string): KubeObject {
  return { metadata: { name, resourceVersion } };
}

function send(res: ServerResponse, status: number, body: unknown): void {
  res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}
