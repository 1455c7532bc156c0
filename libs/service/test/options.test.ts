import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { defineOptions, optionsFromEnvironment, parseDuration, resolveOptions } from "../src/index.ts";

const specs = defineOptions({
  folder: { type: "string", isPath: true, help: "a folder" },
  name: { type: "string", env: ["KEELSON_NAME", "K3S_NAME"], help: "a name" },
  sizes: { type: "list", help: "sizes" },
  args: { type: "list", keepCommas: true, help: "arguments" },
  secret: { type: "number", secret: true, help: "a secret number" },
  level: { type: "string", default: "low", oneOf: ["low", "high"], help: "a level" },
  wait: { type: "duration", default: "1m", help: "how long" },
});

const resolve = (values: Record<string, string[]>) =>
  resolveOptions(specs, [{ from: "test", values: new Map(Object.entries(values)) }]);

describe("options", () => {
  it("makes a relative folder absolute: sockets and kubeconfigs are read from elsewhere", () => {
    expect(resolve({ folder: ["state"] }).folder).toBe(join(process.cwd(), "state"));
    expect(resolve({ folder: ["/state"] }).folder).toBe("/state");
  });

  it("splits lists at commas unless they are kept", () => {
    expect(resolve({ sizes: ["a,b", "c"], args: ["x=1,2"] })).toMatchObject({
      sizes: ["a", "b", "c"],
      args: ["x=1,2"],
    });
  });

  it("takes only the words that an option has", () => {
    expect(resolve({ level: ["high"] }).level).toBe("high");
    expect(() => resolve({ level: ["middle"] })).toThrow("--level (from test) must be one of low, high");
  });

  it("takes the first variable that is set and ignores empty ones", () => {
    const values = optionsFromEnvironment(specs, { KEELSON_NAME: "", K3S_NAME: "b" });
    expect(resolveOptions(specs, [{ from: "the environment", values }]).name).toBe("b");
  });

  it("lets a flag beat the variable that gives the same thing in another form", () => {
    const token = defineOptions({
      token: { type: "list", env: "K3S_TOKEN", help: "a secret" },
      "token-file": { type: "string", env: "K3S_TOKEN_FILE", insteadOf: "token", help: "a file with it" },
    });
    const merge = (flags: Record<string, string[]>, env: NodeJS.ProcessEnv) =>
      resolveOptions(token, [
        { from: "flags", values: new Map(Object.entries(flags)) },
        { from: "the environment", values: optionsFromEnvironment(token, env) },
      ]);
    const variables = { K3S_TOKEN: "variable", K3S_TOKEN_FILE: "/variable" };
    expect(merge({ "token-file": ["/flag"] }, variables)).toEqual({ token: [], "token-file": "/flag" });
    expect(merge({ token: ["flag"] }, variables)).toEqual({ token: ["flag"], "token-file": undefined });
    expect(merge({}, variables)).toEqual({ token: ["variable"], "token-file": "/variable" });
  });

  it("does not print the value of a secret option that is invalid", () => {
    const error = captured(() => resolve({ secret: ["hunter2"] }));
    expect(error).toMatchObject({ code: "option/invalid", message: "--secret (from test) must be a number" });
    expect(JSON.stringify(error) + String(error)).not.toContain("hunter2");
  });

  it("parses Go durations", () => {
    expect(["500ms", "1h30m", "1.5s", "2", "1d"].map(parseDuration)).toEqual([
      500, 5_400_000, 1_500, 2_000, 86_400_000,
    ]);
    for (const text of ["", "h", "1x", "-1s", "1h 2m"]) expect(() => parseDuration(text)).toThrow(RangeError);
  });
});

function captured(fn: () => unknown): unknown {
  try {
    fn();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}
