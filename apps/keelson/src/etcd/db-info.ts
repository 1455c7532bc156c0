import { KeelsonError } from "@keelson/service";
import type { EtcdMember } from "./membership.ts";

/**
 * The document behind `GET /db/info`, which a joining server (also a stock k3s one) reads to find the members. `ID` is a
 * 64-bit JSON number, which `JSON.parse` and `JSON.stringify` would round.
 */
export function formatDbInfo(members: readonly EtcdMember[]): string {
  const entries = members.map((member) => {
    const fields = [`"ID":${member.id}`];
    if (member.name !== "") fields.push(`"name":${JSON.stringify(member.name)}`);
    if (member.peerUrls.length > 0) fields.push(`"peerURLs":${JSON.stringify(member.peerUrls)}`);
    if (member.clientUrls.length > 0) fields.push(`"clientURLs":${JSON.stringify(member.clientUrls)}`);
    if (member.isLearner) fields.push(`"isLearner":true`);
    return `{${fields.join(",")}}`;
  });
  return `{"members":[${entries.join(",")}]}`;
}

/** Reads another server's `/db/info`. Throws `etcd/db-info` on anything else. */
export function parseDbInfo(text: string): EtcdMember[] {
  let document: unknown;
  try {
    // Quoting the number keeps its digits; a name cannot contain the pattern, since quotes are escaped inside strings.
    document = JSON.parse(text.replace(/"ID":\s*(\d+)/g, '"ID":"$1"'));
  } catch (error) {
    throw invalid("is not JSON", error);
  }
  if (!isRecord(document) || !Array.isArray(document.members)) throw invalid("has no list of members");
  return document.members.map((entry: unknown) => {
    if (!isRecord(entry) || typeof entry.ID !== "string") throw invalid("has a member without an ID");
    return {
      id: BigInt(entry.ID),
      name: typeof entry.name === "string" ? entry.name : "",
      peerUrls: strings(entry.peerURLs),
      clientUrls: strings(entry.clientURLs),
      isLearner: entry.isLearner === true,
    };
  });
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function invalid(what: string, cause?: unknown): KeelsonError {
  return new KeelsonError("etcd/db-info", `the server's list of etcd members ${what}`, {
    hint: "check that --server names a server with embedded etcd",
    cause,
  });
}
