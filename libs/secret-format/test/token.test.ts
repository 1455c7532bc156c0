import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  formatBootstrapToken,
  formatToken,
  generateBootstrapToken,
  hashCaBundle,
  normalizeToken,
  parseBootstrapToken,
  parseToken,
} from "../src/index.ts";
import { readVectors } from "./vectors.ts";

interface TokenVectors {
  serverA: { files: Record<string, string>; agentTokenFull: string };
  serverB: { files: Record<string, string>; cacerts: string; cacertsSha256: string };
  cacerts: { body: string };
  tokenHash: string;
  agentCli: { case: string; token: string; logLines: string[] }[];
}
const vectors = readVectors<TokenVectors>("token.json");

describe("a token of stock K3s", () => {
  it("parses and formats back to the same text", () => {
    for (const text of [vectors.serverA.files["server/token"]!, vectors.serverB.files["server/token"]!]) {
      const { caHash, username, password } = parseToken(text);
      expect(username).toBe("server");
      expect(`${formatToken(caHash!, username, password)}\n`).toBe(text);
    }
    expect(parseToken(vectors.serverA.agentTokenFull)).toMatchObject({
      username: "node",
      password: "lab-agent-secret",
    });
  });

  it("pins the bytes of /cacerts", () => {
    expect(hashCaBundle(vectors.cacerts.body)).toBe(vectors.tokenHash);
    expect(hashCaBundle(vectors.serverB.cacerts)).toBe(vectors.serverB.cacertsSha256);
    expect(hashCaBundle(vectors.cacerts.body.trimEnd())).not.toBe(vectors.tokenHash);
    expect(hashCaBundle(vectors.cacerts.body.replaceAll("\n", "\r\n"))).not.toBe(vectors.tokenHash);
  });

  it("fails with K3s's words exactly where K3s fails, and nowhere else", () => {
    for (const { case: name, token, logLines } of vectors.agentCli) {
      const expected = ["invalid token CA hash length", "invalid token format"].find((text) =>
        logLines.some((line) => line.includes(text)),
      );
      if (expected === undefined) expect(() => parseToken(token), name).not.toThrow();
      else expect(() => parseToken(token), name).toThrow(expected);
    }
  });
});

describe("parsing tokens", () => {
  it("takes what does not start with K10 for a bare password", () => {
    expect(parseToken("my:secret::x")).toEqual({
      caHash: undefined,
      username: "",
      password: "my:secret::x",
      bootstrap: undefined,
    });
    expect(normalizeToken("mysecret\n")).toBe("mysecret");
  });

  it("reads a bootstrap token, bare and pinned", () => {
    const token = generateBootstrapToken();
    const text = `${token.id}.${token.secret}`;
    expect(parseBootstrapToken(text)).toEqual(token);
    expect(parseToken(text).bootstrap).toEqual(token);
    expect(parseToken(formatBootstrapToken("a".repeat(64), token))).toMatchObject({
      caHash: "a".repeat(64),
      bootstrap: token,
    });
  });

  it("round-trips every user and password, and throws nothing but its own error on any text", () => {
    const user = fc.stringMatching(/^[a-z]{1,10}$/);
    const password = fc.stringMatching(/^[!-~]{1,40}$/).filter((text) => !text.includes("::"));
    fc.assert(
      fc.property(user, password, (username, secret) => {
        const parsed = parseToken(formatToken("0".repeat(64), username, secret));
        return parsed.bootstrap !== undefined || (parsed.username === username && parsed.password === secret);
      }),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `K10${text}`),
        ),
        (text) => {
          try {
            parseToken(text);
          } catch (error) {
            expect(error).toMatchObject({ code: "token/invalid" });
            // No part of what may be a secret gets into the message.
            if (text.trim().length > 20) expect(String(error)).not.toContain(text.trim());
          }
        },
      ),
    );
  });
});
