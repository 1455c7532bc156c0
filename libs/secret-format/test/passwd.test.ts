import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatPasswd, parsePasswd, secretsEqual } from "../src/index.ts";
import { readVectors } from "./vectors.ts";

const vectors = readVectors<{ serverA: { files: Record<string, string> } }>("token.json");

describe("cred/passwd", () => {
  it("of stock K3s is read and written back", () => {
    const text = vectors.serverA.files["server/cred/passwd"]!;
    const entries = parsePasswd(text);
    expect(entries).toEqual([
      { password: "lab-agent-secret", name: "node", uid: "node", groups: ["k3s:agent"] },
      { password: "lab-server-secret", name: "server", uid: "server", groups: ["k3s:server"] },
    ]);
    expect(formatPasswd(entries)).toBe(text);
  });

  it("round-trips any text, quotes and newlines included", () => {
    const field = fc.string().filter((text) => text !== "" && !text.includes("\0"));
    const groups = fc.array(fc.stringMatching(/^[a-z:]{1,8}$/), { maxLength: 3 });
    const entry = fc.record({ password: field, name: field, uid: field, groups });
    fc.assert(
      fc.property(fc.array(entry), (entries) => {
        expect(parsePasswd(formatPasswd(entries))).toEqual(entries);
      }),
    );
  });

  it("lets no row of fewer than three columns log in, and accepts Windows line ends", () => {
    expect(parsePasswd('pw,user\r\npw,user,uid\r\npw,user,uid,"a,b"\r\n').map(({ groups }) => groups)).toEqual([
      [],
      ["a", "b"],
    ]);
    expect(() => parsePasswd('"open')).toThrow("without an end");
  });
});

describe("comparing secrets", () => {
  it("is equality", () => {
    fc.assert(fc.property(fc.string(), fc.string(), (a, b) => secretsEqual(a, b) === (a === b) && secretsEqual(a, a)));
  });
});
