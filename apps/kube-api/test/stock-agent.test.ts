import { readFileSync } from "node:fs";
import { lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ApiObject } from "../src/kinds/kind.ts";
import { decodeEnvelope, isEnveloped } from "../src/protobuf/envelope.ts";
import { nodeIdentity, type RunningApi, startApi } from "./support/running-api.ts";

const vectors = new URL("../../../conformance/vectors/agent-api-requests.jsonl", import.meta.url);

interface Sample {
  url: string;
  status: number;
  requestObject?: unknown;
  requestRawBase64?: string;
  requestRawLength?: number;
  responseObject?: { kind: string; metadata: { name: string; namespace?: string } };
}

interface Recorded {
  section: string;
  user: string;
  verb: string;
  method: string;
  path: string;
  query: string;
  contentType: string | null;
  accept: string | null;
  statuses: Record<string, number>;
  responseContentType: string;
  samples: Sample[];
}

const recorded = readFileSync(vectors, "utf8")
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => JSON.parse(line) as Recorded)
  .filter(({ section }) => section === "agent");

/** What a stock k3s v1.21 agent, its kubelet and its kube-proxy asked a stock server, asked again here in the same order. */
describe.skipIf(lacks("etcd"))("a stock agent's requests", () => {
  let api: RunningApi;
  beforeAll(async () => {
    api = await startApi();
    await bindRecordedPods();
  });
  afterAll(() => api.close());

  /** The pods of the recording, and what they mount, as its scheduler and user had made them. */
  async function bindRecordedPods(): Promise<void> {
    const samples = recorded.flatMap(({ samples }) => samples);
    const pods = samples.map(({ responseObject }) => responseObject).filter((object) => object?.kind === "Pod");
    for (const pod of pods) {
      const { name, namespace = "default" } = pod!.metadata;
      const { resourceVersion: _, ...metadata } = pod!.metadata as Record<string, unknown>;
      const body = { ...pod, metadata: { name, namespace, labels: metadata.labels } };
      await api.call("POST", `/api/v1/namespaces/${namespace}/pods`, { body });
    }
    const secret = { metadata: { name: "logger-secret" }, stringData: { a: "b" } };
    await api.call("POST", "/api/v1/namespaces/default/secrets", { body: secret });
    for (const name of ["kube-root-ca.crt", "logger-cfg"]) {
      await api.call("POST", "/api/v1/namespaces/default/configmaps", {
        body: { metadata: { name }, data: { a: "b" } },
      });
    }
  }

  const identityOf = (user: string) => {
    const node = /^system:node:(.+)$/.exec(user)?.[1];
    return node === undefined ? { user } : nodeIdentity(node);
  };

  /** A recorded object whose owner, a Node, is the present one: what belongs to a node of the past is collected. */
  async function withLivingOwner(raw: Buffer): Promise<Buffer> {
    const object = isEnveloped(raw) ? decodeEnvelope(raw) : {};
    const owner = (object.metadata as ApiObject["metadata"] | undefined)?.ownerReferences?.[0];
    if (owner?.kind !== "Node") return raw;
    const node = await api.call("GET", `/api/v1/nodes/${owner.name}`);
    return Buffer.from(raw.toString("latin1").replaceAll(owner.uid, node.json.metadata.uid), "latin1");
  }

  /** The recorded body, in the current resource version of the object it updates. */
  async function bodyOf(
    sample: Sample,
    { method, contentType }: Recorded,
    path: string,
  ): Promise<Buffer | object | undefined> {
    const recordedRaw = Buffer.from(sample.requestRawBase64 ?? "", "base64");
    const isWhole = recordedRaw.length > 0 && recordedRaw.length === sample.requestRawLength;
    const raw = isWhole ? await withLivingOwner(recordedRaw) : recordedRaw;
    const patch = sample.requestObject as { metadata?: { uid?: string } } | undefined;
    if (method === "PATCH" && patch?.metadata?.uid !== undefined) {
      // A kubelet says by its uid which pod it means.
      const { uid } = (await api.call("GET", path.replace(/\/status$/, ""))).json.metadata;
      return { ...patch, metadata: { ...patch.metadata, uid } };
    }
    if (method !== "PUT") return isWhole ? raw : (sample.requestObject as object | undefined);
    const current = await api.call("GET", path);
    const object = (contentType?.includes("protobuf") ? decodeEnvelope(raw) : sample.requestObject) as {
      metadata: object;
    };
    const { uid, resourceVersion } = current.json.metadata;
    return { ...object, metadata: { ...object.metadata, uid, resourceVersion } };
  }

  it.each(
    recorded.map((each) => [`${each.user} ${each.method} ${each.path}?${each.query}`.slice(0, 160), each] as const),
  )("%s", async (_what, request) => {
    const sample = request.samples[0]!;
    const url = new URL(sample.url, "http://localhost");
    if (url.searchParams.has("resourceVersion")) url.searchParams.set("resourceVersion", "0");
    const path = `${url.pathname}${url.search}`;
    const as = identityOf(request.user);
    const headers: Record<string, string> = request.accept === null ? {} : { accept: request.accept };
    if (request.verb === "watch") {
      const stream = await api.open(path, { as, headers });
      expect([stream.statusCode, stream.headers["content-type"]]).toEqual([200, request.responseContentType]);
      stream.destroy();
      return;
    }
    const body = await bodyOf(sample, request, url.pathname);
    if (body !== undefined && request.contentType !== null) {
      headers["content-type"] =
        Buffer.isBuffer(body) || request.method === "PATCH" ? request.contentType : "application/json";
    }
    if (request.method === "DELETE") {
      const { uid } = (await api.call("GET", url.pathname)).json.metadata;
      headers["content-type"] = "application/json";
      const answer = await api.call("DELETE", path, { as, headers, body: { preconditions: { uid } } });
      expect(answer.status, answer.bytes.toString()).toBe(200);
      return;
    }
    if (request.method === "PATCH" && url.pathname.includes("/events/")) {
      const name = url.pathname.split("/").at(-1);
      await api.call("POST", "/api/v1/namespaces/default/events", { body: { metadata: { name } } });
    }
    const answer = await api.call(request.method, path, { as, headers, body });
    const allowed = [...Object.keys(request.statuses), ...(request.method === "GET" ? ["200", "404"] : [])];
    expect(allowed, answer.bytes.toString()).toContain(String(answer.status));
    expect(answer.headers["content-type"]).toBe(request.responseContentType);
    if (isEnveloped(answer.bytes) && request.verb !== "list")
      expect(decodeEnvelope(answer.bytes)).toHaveProperty("kind");
  });

  it("is refused to give itself a role or to drop a taint, in NodeRestriction's words", async () => {
    const labels = { "kubernetes.io/hostname": "proud", "node.kubernetes.io/instance-type": "k3s", zone: "a" };
    const own = { taints: [{ key: "dedicated", effect: "NoSchedule" }] };
    const as = nodeIdentity("proud");
    const role = { "node-role.kubernetes.io/control-plane": "true" };
    const create = (more: object) =>
      api.call("POST", "/api/v1/nodes", {
        as,
        body: { metadata: { name: "proud", labels: { ...labels, ...more } }, spec: own },
      });
    expect((await create(role)).json.message).toBe(
      'nodes "proud" is forbidden: node "proud" is not allowed to set the following labels: node-role.kubernetes.io/control-plane',
    );
    expect((await create({})).status).toBe(201);
    const patch = (body: object) =>
      api.call("PATCH", "/api/v1/nodes/proud", {
        as,
        headers: { "content-type": "application/merge-patch+json" },
        body,
      });
    expect((await patch({ metadata: { labels: role } })).json.message).toContain(
      "is not allowed to modify labels: node-role.kubernetes.io/control-plane",
    );
    expect((await patch({ spec: { taints: null } })).json.message).toContain("is not allowed to modify taints");
    expect((await patch({ metadata: { labels: { zone: "b" } } })).status).toBe(200);
  });

  it("is refused what is another node's", async () => {
    const as = nodeIdentity("other");
    const refused = async (method: string, path: string, body?: object): Promise<void> => {
      const headers: Record<string, string> =
        method === "PATCH" ? { "content-type": "application/merge-patch+json" } : {};
      const answer = await api.call(method, path, { as, headers, ...(body && { body }) });
      expect([answer.status, answer.json.reason], path).toEqual([403, "Forbidden"]);
    };
    await refused("PATCH", "/api/v1/nodes/agent1/status", { status: {} });
    await refused("POST", "/api/v1/nodes", { metadata: { name: "third" } });
    await refused("POST", "/api/v1/nodes", {
      metadata: { name: "other", labels: { "node-restriction.kubernetes.io/a": "b" } },
    });
    await refused("GET", "/api/v1/namespaces/default/secrets/logger-secret");
    await refused("GET", "/api/v1/namespaces/default/secrets");
    await refused("GET", "/api/v1/secrets?fieldSelector=metadata.name%3Dlogger-secret");
    await refused("GET", "/api/v1/namespaces/kube-system/secrets/agent1.node-password.k3s");
    await refused("GET", "/api/v1/configmaps");
    await refused("DELETE", "/api/v1/nodes/agent1");
    await refused("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", { spec: {} });
    await refused("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", {
      metadata: { name: "agent1" },
    });
    const pods = (await api.call("GET", "/api/v1/namespaces/default/pods")).json.items;
    const pod = `/api/v1/namespaces/default/pods/${pods[0].metadata.name}`;
    await refused("DELETE", pod);
    await refused("PATCH", `${pod}/status`, { status: {} });
  });
});
