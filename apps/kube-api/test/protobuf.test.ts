import { readFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { decodeEnvelope, encodeEnvelope, isEnveloped } from "../src/protobuf/envelope.ts";

const vectors = new URL("../../../conformance/vectors/", import.meta.url);

interface Sample {
  requestObject?: Record<string, unknown>;
  requestRawBase64?: string;
  requestRawLength?: number;
  responseObject?: Record<string, unknown>;
  responseRawBase64?: string;
  responseRawLength?: number;
}

/** Recorded bodies that were kept whole, with the object that the audit log shows for them. */
function recordedBodies(): { what: string; object: Record<string, unknown>; bytes: Buffer }[] {
  const lines = readFileSync(new URL("agent-api-requests.jsonl", vectors), "utf8").split("\n").filter(Boolean);
  const bodies = [];
  for (const line of lines) {
    const { method, path, samples = [] } = JSON.parse(line) as { method: string; path: string; samples?: Sample[] };
    for (const sample of samples) {
      for (const side of ["request", "response"] as const) {
        const object = sample[`${side}Object`];
        const bytes = Buffer.from(sample[`${side}RawBase64`] ?? "", "base64");
        if (object === undefined || !isEnveloped(bytes) || bytes.length !== sample[`${side}RawLength`]) continue;
        bodies.push({ what: `${side} of ${method} ${path}`, object, bytes });
      }
    }
  }
  return bodies;
}

/** Leaves out what Go's JSON shows although it is empty. */
function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutEmpty);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value)
    .filter(([key]) => key !== "managedFields")
    .map(([key, inner]) => [key, withoutEmpty(inner)] as const)
    .filter(([, inner]) => inner !== null && inner !== "" && !isEmptyContainer(inner));
  return Object.fromEntries(entries);
}

function isEmptyContainer(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

describe("protobuf bodies", () => {
  it("reads what a stock kubelet and kube-proxy sent and received", () => {
    const bodies = recordedBodies();
    expect(bodies.length).toBeGreaterThan(20);
    for (const { what, object, bytes } of bodies) {
      if (String(object.kind).endsWith("List")) continue;
      expect(withoutEmpty(decodeEnvelope(bytes)), what).toEqual(withoutEmpty(object));
    }
  });

  it("writes what it reads", () => {
    for (const { what, bytes } of recordedBodies()) {
      let object: Record<string, unknown>;
      try {
        object = decodeEnvelope(bytes);
      } catch {
        continue; // lists are only ever written
      }
      expect(decodeEnvelope(encodeEnvelope(object)!), what).toEqual(object);
    }
  });

  it("reads every object that a stock server stored", () => {
    const path = fileURLToPath(new URL("kine-state.db", vectors));
    const db = new DatabaseSync(path, { readOnly: true });
    const rows = db.prepare("select name, value from kine where name like '/registry/%' and deleted = 0").all();
    const kinds = new Set<string>();
    for (const { name, value } of rows as { name: string; value: Uint8Array }[]) {
      if (value === null || !isEnveloped(value)) continue;
      try {
        const object = decodeEnvelope(value) as { kind: string; metadata: { name?: string } };
        if (!name.startsWith("/registry/masterleases/"))
          expect(name.endsWith(`/${object.metadata.name}`), name).toBe(true);
        expect(decodeEnvelope(encodeEnvelope(object)!), name).toEqual(object);
        kinds.add(object.kind);
      } catch (error) {
        // RangeError: a kind that is not served (flow control, address allocation)
        if (!(error instanceof RangeError)) throw error;
      }
    }
    db.close();
    expect(kinds.size).toBeGreaterThan(15);
  });
});
