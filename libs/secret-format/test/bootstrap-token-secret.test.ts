import { describe, expect, it } from "vitest";
import { bootstrapTokenSecret, defaultBootstrapGroup, parseBootstrapTokenSecret } from "../src/index.ts";

const token = {
  id: "abcdef",
  secret: "0123456789abcdef",
  description: "for the new rack",
  expiresAtMs: Date.UTC(2026, 5, 1, 12),
  usages: ["signing", "authentication"],
  groups: [defaultBootstrapGroup],
} as const;

describe("a bootstrap token Secret", () => {
  it("has Kubernetes's name, type and fields, and reads back", () => {
    const secret = bootstrapTokenSecret(token);
    const decoded = Object.fromEntries(
      Object.entries(secret.data!).map(([name, value]) => [name, Buffer.from(value, "base64").toString()]),
    );
    expect([secret.metadata, secret.type]).toEqual([
      { name: "bootstrap-token-abcdef", namespace: "kube-system" },
      "bootstrap.kubernetes.io/token",
    ]);
    expect(decoded).toEqual({
      "token-id": "abcdef",
      "token-secret": "0123456789abcdef",
      description: "for the new rack",
      expiration: "2026-06-01T12:00:00Z",
      "usage-bootstrap-signing": "true",
      "usage-bootstrap-authentication": "true",
      "auth-extra-groups": defaultBootstrapGroup,
    });
    expect(parseBootstrapTokenSecret(secret)).toEqual(token);
  });

  it("is none when its type, its name or its expiration is not right", () => {
    const secret = bootstrapTokenSecret(token);
    expect(parseBootstrapTokenSecret({ ...secret, type: "Opaque" })).toBeUndefined();
    expect(parseBootstrapTokenSecret({ ...secret, metadata: { name: "bootstrap-token-zzzzzz" } })).toBeUndefined();
    const expiration = Buffer.from("soon").toString("base64");
    expect(parseBootstrapTokenSecret({ ...secret, data: { ...secret.data, expiration } })).toBeUndefined();
  });
});
