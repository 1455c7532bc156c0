import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { KeelsonError } from "@keelson/service";
import type { ConnectEtcd, EtcdClusterApi, EtcdStatus } from "./cluster-api.ts";
import type { EtcdLayout } from "./layout.ts";
import type { EtcdMember } from "./membership.ts";

type Json = Record<string, unknown>;
const timeoutMs = 10_000;

/** Opens connections with the cluster's etcd client certificate. The files are read when the first call is made. */
export function connectEtcd(certificates: EtcdLayout["certificates"]): ConnectEtcd {
  return (endpoints) => new JsonGateway(endpoints, certificates);
}

class JsonGateway implements EtcdClusterApi {
  readonly #endpoints: readonly string[];
  readonly #certificates: EtcdLayout["certificates"];
  #agent: Agent | undefined;

  constructor(endpoints: readonly string[], certificates: EtcdLayout["certificates"]) {
    this.#endpoints = endpoints;
    this.#certificates = certificates;
  }

  async memberList(): Promise<EtcdMember[]> {
    return members(await this.#call("/v3/cluster/member/list", {}));
  }
  async memberAddAsLearner(peerURLs: readonly string[]): Promise<EtcdMember[]> {
    return members(await this.#call("/v3/cluster/member/add", { peerURLs, isLearner: true }));
  }
  async memberPromote(id: bigint): Promise<void> {
    await this.#call("/v3/cluster/member/promote", { ID: String(id) });
  }
  async memberRemove(id: bigint): Promise<void> {
    await this.#call("/v3/cluster/member/remove", { ID: String(id) });
  }
  async memberUpdate(id: bigint, peerURLs: readonly string[]): Promise<void> {
    await this.#call("/v3/cluster/member/update", { ID: String(id), peerURLs });
  }
  async status(): Promise<EtcdStatus> {
    const answer = await this.#call("/v3/maintenance/status", {});
    const header = answer.header as Json;
    return {
      memberId: BigInt(String(header.member_id)),
      leaderId: BigInt(String(answer.leader ?? 0)),
      raftAppliedIndex: Number(answer.raftAppliedIndex ?? 0),
      isLearner: answer.isLearner === true,
      dbSizeBytes: Number(answer.dbSize ?? 0),
      version: String(answer.version ?? ""),
    };
  }
  async defragment(): Promise<void> {
    await this.#call("/v3/maintenance/defragment", {}, 120_000);
  }
  async disarmAlarms(): Promise<void> {
    const { alarms } = await this.#call("/v3/maintenance/alarm", { action: "GET" });
    for (const alarm of (alarms as Json[] | undefined) ?? []) {
      await this.#call("/v3/maintenance/alarm", { action: "DEACTIVATE", ...alarm });
    }
  }
  async *snapshot(): AsyncIterable<Uint8Array> {
    let rest = "";
    const stream = await this.#open(this.#endpoints[0]!, "/v3/maintenance/snapshot", {}, 600_000);
    stream.setEncoding("utf8");
    for await (const chunk of stream as AsyncIterable<string>) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) yield blob(line);
    }
    if (rest !== "") yield blob(rest);
  }
  async get(key: string): Promise<string | undefined> {
    const { kvs } = await this.#call("/v3/kv/range", { key: base64(key) });
    const value = (kvs as Json[] | undefined)?.[0]?.value;
    return value === undefined ? undefined : Buffer.from(String(value), "base64").toString();
  }
  async put(key: string, value: string): Promise<void> {
    await this.#call("/v3/kv/put", { key: base64(key), value: base64(value) });
  }
  async delete(key: string): Promise<void> {
    await this.#call("/v3/kv/deleterange", { key: base64(key) });
  }
  close(): void {
    this.#agent?.destroy();
  }

  async #call(path: string, body: Json, limitMs = timeoutMs): Promise<Json> {
    let failure: unknown;
    for (const endpoint of this.#endpoints) {
      try {
        const stream = await this.#open(endpoint, path, body, limitMs);
        stream.setEncoding("utf8");
        let text = "";
        for await (const chunk of stream as AsyncIterable<string>) text += chunk;
        return JSON.parse(text) as Json;
      } catch (error) {
        if (error instanceof KeelsonError) throw error;
        failure = error;
      }
    }
    throw new KeelsonError("etcd/unreachable", `no etcd server answers at ${this.#endpoints.join(", ")}`, {
      cause: failure,
    });
  }

  async #open(
    endpoint: string,
    path: string,
    body: Json,
    limitMs: number,
  ): Promise<import("node:http").IncomingMessage> {
    this.#agent ??= new Agent({
      keepAlive: true,
      ca: readFileSync(this.#certificates.serverCa),
      cert: readFileSync(this.#certificates.clientCert),
      key: readFileSync(this.#certificates.clientKey),
    });
    const agent = this.#agent;
    return new Promise((resolve, reject) => {
      const req = request(
        `${endpoint}${path}`,
        { method: "POST", agent, signal: AbortSignal.timeout(limitMs) },
        (res) => {
          if (res.statusCode === 200) return resolve(res);
          let text = "";
          res.setEncoding("utf8");
          res.on("data", (chunk: string) => {
            text += chunk;
          });
          res.on("end", () => reject(new KeelsonError("etcd/refused", errorText(text))));
          res.on("error", reject);
        },
      );
      req.on("error", reject);
      req.end(JSON.stringify(body));
    });
  }
}

function errorText(text: string): string {
  try {
    const { error, message } = JSON.parse(text) as { error?: string; message?: string };
    return message ?? error ?? text;
  } catch {
    return text;
  }
}

function members(answer: Json): EtcdMember[] {
  return ((answer.members as Json[] | undefined) ?? []).map((member) => ({
    id: BigInt(String(member.ID)),
    name: String(member.name ?? ""),
    peerUrls: (member.peerURLs as string[] | undefined) ?? [],
    clientUrls: (member.clientURLs as string[] | undefined) ?? [],
    isLearner: member.isLearner === true,
  }));
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}

function blob(line: string): Buffer {
  const { result } = JSON.parse(line) as { result?: { blob?: string } };
  return Buffer.from(result?.blob ?? "", "base64");
}
