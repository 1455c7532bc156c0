import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineOptions, resolveOptions } from "@keelson/service";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Command, defineCommand } from "../src/cli/command.ts";
import { parseArguments } from "../src/cli/parse-arguments.ts";
import { runCommandLine } from "../src/cli/run.ts";

const options = defineOptions({
  "data-dir": { type: "string", short: "d", default: "/data", env: "TEST_DATA_DIR", help: "where" },
  "tls-san": { type: "list", help: "names" },
  "node-count": { type: "number", default: 1, help: "how many" },
  "disable-agent": { type: "boolean", help: "no agent" },
  interval: { type: "duration", default: "1m30s", help: "how often" },
});

describe("the command line", () => {
  let seen: Record<string, unknown> | undefined;
  const tree: Command[] = [
    {
      name: "probe",
      summary: "test",
      load: async () =>
        defineCommand({
          options,
          configFile: true,
          async run(invocation) {
            seen = { ...invocation.options };
            return 0;
          },
        }),
    },
  ];
  let file: string;

  beforeEach(async () => {
    seen = undefined;
    const directory = await mkdtemp(join(tmpdir(), "keelson-cli-"));
    file = join(directory, "config.yaml");
    await mkdir(`${file}.d`);
    await writeFile(file, "data-dir: /from-file\nnode-count: 2\ntls-san: [a, b]\n");
    await writeFile(`${file}.d/10.yaml`, "node-count: 3\n'tls-san+': c\n");
  });
  afterEach(() => {
    delete process.env.TEST_DATA_DIR;
  });

  it("takes flags over environment over drop-ins in order over the file over the default", async () => {
    await runCommandLine(tree, ["probe", "-c", file]);
    expect(seen).toMatchObject({
      "data-dir": "/from-file",
      "node-count": 3,
      "tls-san": ["a", "b", "c"],
      interval: 90_000,
    });
    process.env.TEST_DATA_DIR = "/from-env";
    await runCommandLine(tree, ["probe", "--config", file]);
    expect(seen).toMatchObject({ "data-dir": "/from-env" });
    await runCommandLine(tree, ["probe", `--config=${file}`, "-d", "/from-flag", "--tls-san", "d"]);
    expect(seen).toMatchObject({ "data-dir": "/from-flag", "tls-san": ["a", "b", "c", "d"] });
  });

  it("names the file, the key and the nearest option when a key is unknown", async () => {
    await writeFile(file, "data-dirs: x\n");
    await expect(runCommandLine(tree, ["probe", "-c", file])).rejects.toMatchObject({
      code: "option/unknown",
      message: `unknown option "data-dirs" in ${file}`,
      hint: 'did you mean "data-dir"?',
    });
  });

  it("refuses an unknown flag, a missing value, a wrong type and a missing named file", async () => {
    await expect(runCommandLine(tree, ["probe", "--nope", "-c", file])).rejects.toMatchObject({
      code: "option/unknown",
    });
    await expect(runCommandLine(tree, ["probe", "--data-dir"])).rejects.toMatchObject({ code: "option/invalid" });
    await expect(runCommandLine(tree, ["probe", "-c", file, "--node-count", "x"])).rejects.toMatchObject({
      code: "option/invalid",
    });
    await expect(runCommandLine(tree, ["probe", "-c", "/nonexistent.yaml"])).rejects.toMatchObject({
      code: "config/unreadable",
    });
  });

  it("refuses arguments that nothing reads, and shows help for the word", async () => {
    await expect(runCommandLine(tree, ["probe", "-c", file, "extra"])).rejects.toMatchObject({
      code: "cli/usage",
      message: '"probe" takes no arguments, got "extra"',
    });
    const printed = vi.spyOn(process.stdout, "write").mockReturnValue(true);
    expect(await runCommandLine(tree, ["probe", "help"])).toBe(0);
    expect(printed.mock.calls.join("")).toContain("Usage: keelson probe [options]");
    printed.mockRestore();
    expect(seen).toBeUndefined();
  });

  it("parses inline values, negated booleans and positionals", () => {
    const parsed = parseArguments(options, ["one", "--disable-agent", "--data-dir=/x=y", "--", "--two"]);
    expect(parsed.args).toEqual(["one", "--two"]);
    expect(resolveOptions(options, [{ from: "flags", values: parsed.options }])).toMatchObject({
      "data-dir": "/x=y",
      "disable-agent": true,
    });
    const negated = parseArguments(options, ["--no-disable-agent"]);
    expect(resolveOptions(options, [{ from: "flags", values: negated.options }])).toMatchObject({
      "disable-agent": false,
    });
  });
});
