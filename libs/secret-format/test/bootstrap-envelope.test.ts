import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type BootstrapPieceName,
  bootstrapKey,
  bootstrapPieces,
  formatBootstrapData,
  openBootstrap,
  parseBootstrapData,
  sealBootstrap,
} from "../src/index.ts";
import { readVectors } from "./vectors.ts";

interface BootstrapVectors {
  token: string;
  etcdKey: string;
  value: string;
  kdf: { saltValue: string };
  cipher: { nonceHex: string };
  plaintext: { length: number; sha256: string };
  pieces: { name: BootstrapPieceName; sha256: string; onDisk: string[] }[];
}
const vectors = readVectors<BootstrapVectors>("bootstrap.json");
const sha256 = (data: string | Buffer): string => createHash("sha256").update(data).digest("hex");

describe("the bootstrap envelope of stock K3s", () => {
  it("opens, and every piece is the file it should be", () => {
    expect(bootstrapKey(vectors.token)).toBe(vectors.etcdKey);
    const json = openBootstrap(vectors.token, vectors.value);
    expect([json.length, sha256(json)]).toEqual([vectors.plaintext.length, vectors.plaintext.sha256]);
    const data = parseBootstrapData(json);
    for (const { name, sha256: expected, onDisk } of vectors.pieces) {
      expect(sha256(data[name]!.content), name).toBe(expected);
      expect(onDisk[0]).toBe(`<server-data-dir>/server/${bootstrapPieces[name]}`);
    }
    expect(Object.keys(data)).toHaveLength(vectors.pieces.length);
  });

  it("comes out byte for byte from our writer under its salt and nonce", () => {
    const data = parseBootstrapData(openBootstrap(vectors.token, vectors.value));
    const sealed = sealBootstrap(vectors.token, formatBootstrapData(data, { legacy: true }), {
      salt: vectors.kdf.saltValue,
      nonce: Buffer.from(vectors.cipher.nonceHex, "hex"),
    });
    expect(sealed).toBe(vectors.value);
  });
});

describe("an envelope of ours", () => {
  it("has the known value for known randomness", () => {
    const nonce = Buffer.from("000102030405060708090a0b", "hex");
    expect(sealBootstrap("mysecret", '{"a":"b"}', { salt: "0011223344556677", nonce })).toBe(
      "0011223344556677:AAECAwQFBgcICQoLBD8J+duSf2lCNQUznzB3j+p4c1W84e5SsA==",
    );
    expect([bootstrapKey("mysecret"), bootstrapKey("")]).toEqual([
      "/bootstrap/652c7dc687d9",
      "/bootstrap/e3b0c44298fc",
    ]);
    expect(bootstrapKey(`K10${"0".repeat(64)}::server:mysecret`)).toBe("/bootstrap/652c7dc687d9");
  });

  it("opens with its token and with no other", () => {
    const sealed = sealBootstrap("one-secret", "content");
    expect(openBootstrap("one-secret", sealed)).toBe("content");
    expect(() => openBootstrap("other-secret", sealed)).toThrow(
      expect.objectContaining({ code: "bootstrap/wrong-token" }),
    );
  });

  it("carries times in the current form", () => {
    const modifiedMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
    const json = formatBootstrapData({ ServerCA: { content: Buffer.from("ca"), modifiedMs } });
    expect(json).toBe('{"ServerCA":{"Timestamp":"2026-01-02T03:04:05.678Z","Content":"Y2E="}}\n');
    expect(parseBootstrapData(json).ServerCA).toEqual({ content: Buffer.from("ca"), modifiedMs });
    const nanoseconds = '{"ServerCA":{"Timestamp":"2026-01-02T03:04:05.678901234Z","Content":"Y2E="},"Unknown":"x"}';
    expect(parseBootstrapData(nanoseconds)).toEqual({ ServerCA: { content: Buffer.from("ca"), modifiedMs } });
  });

  it("fails with its own error on any other input", () => {
    const known = ["bootstrap/invalid", "bootstrap/wrong-token"];
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.base64String().map((text) => `00:${text}`),
        ),
        (text) => {
          try {
            openBootstrap("secret", text);
          } catch (error) {
            expect(known).toContain((error as { code: string }).code);
          }
          try {
            parseBootstrapData(text);
          } catch (error) {
            expect(known).toContain((error as { code: string }).code);
          }
        },
      ),
    );
  });
});
