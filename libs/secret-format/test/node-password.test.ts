import { scryptSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import {
  formatNodePasswordHash,
  hashNodePassword,
  isProvisionalHash,
  nodeOfPasswordSecret,
  nodePasswordHashOf,
  nodePasswordSecret,
  nodePasswordSecretName,
  parseNodePasswordHash,
  type SecretObject,
  verifyNodePassword,
} from "../src/index.ts";
import { readVectors } from "./vectors.ts";

interface NodePasswordVectors {
  vectors: { node: string; password: string; hash: string; secret: SecretObject }[];
}
const { vectors } = readVectors<NodePasswordVectors>("node-password.json");

describe("node-password hashes of stock K3s", () => {
  it("verify with their password and with no other", async () => {
    for (const { hash, password } of vectors.slice(0, 4)) {
      expect(await verifyNodePassword(hash, password)).toBe(true);
      expect(await verifyNodePassword(hash, `${password}0`)).toBe(false);
    }
  });

  it("come out the same from our hasher under their salt", async () => {
    for (const { hash, password } of vectors.slice(4)) {
      expect(await hashNodePassword(password, { salt: parseNodePasswordHash(hash).salt })).toBe(hash);
      expect(formatNodePasswordHash(parseNodePasswordHash(hash))).toBe(hash);
    }
  });

  it("are found in their Secrets, under the lower-case name", () => {
    for (const { node, hash, secret } of vectors) {
      expect(nodePasswordHashOf(secret)).toBe(hash);
      expect(nodePasswordSecretName(node)).toBe(secret.metadata.name);
      expect(nodeOfPasswordSecret(secret.metadata.name)).toBe(node.toLowerCase());
      const { metadata, data, immutable } = nodePasswordSecret(node, hash);
      expect({ data, immutable, name: metadata.name, namespace: metadata.namespace }).toEqual({
        data: secret.data,
        immutable: secret.immutable,
        name: secret.metadata.name,
        namespace: secret.metadata.namespace,
      });
    }
  });
});

describe("a hash of ours", () => {
  it("verifies with an independent scrypt", async () => {
    const { salt, logN, r, p, key } = parseNodePasswordHash(await hashNodePassword("secret"));
    expect([salt.length, logN, r, p, key.length]).toEqual([8, 15, 8, 1, 64]);
    expect(scryptSync("secret", salt, 64, { N: 2 ** 15, r: 8, p: 1, maxmem: 2 ** 26 }).equals(key)).toBe(true);
    const fixed = { salt: Buffer.from("0011223344556677", "hex") };
    expect(await hashNodePassword("0123456789abcdef0123456789abcdef", fixed)).toBe(
      "$1:0011223344556677:15:8:1:/iOHeRy1TFHxZwR120qD+iWh49/3AGWm5XTQc7AbbofjwG/Y9CHpZK14leq861JNp0AVgiVA1K/oSSXK4A3XFA",
    );
  });

  it("may be provisional: the same form at a thirtieth of the cost, and known as such", async () => {
    const provisional = await hashNodePassword("secret", { provisional: true });
    expect(provisional).toMatch(/^\$1:[0-9a-f]{16}:10:8:1:/);
    expect(await verifyNodePassword(provisional, "secret")).toBe(true);
    expect([isProvisionalHash(provisional), isProvisionalHash(vectors[0]!.hash)]).toEqual([true, false]);
  });

  it.each([
    ["empty", ""],
    ["of another version", "$2:0011223344556677:15:8:1:AAAA"],
    ["with a salt that is not hex", "$1:zz:15:8:1:AAAA"],
    ["with parameters that would eat the server", `$1:0011223344556677:24:64:8:${"A".repeat(86)}`],
    ["with a key too short to mean anything", "$1:0011223344556677:15:8:1:AAAA"],
  ])("is refused when %s", async (_, stored) => {
    await expect(verifyNodePassword(stored, "secret")).rejects.toMatchObject({ code: "node-password/hash-invalid" });
  });
});
