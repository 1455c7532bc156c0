import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { runCommandLine } from "../src/cli/run.ts";
import { commands } from "../src/commands.ts";

it("a reset of a server that joins others, and a snapshot without a reset, are refused before anything is touched", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "keelson-reset-"));
  onTestFinished(() => rm(dataDir, { recursive: true }));
  const server = (...flags: string[]) =>
    runCommandLine(commands, ["server", "--data-dir", dataDir, "--node-ip", "127.0.0.1", ...flags]);
  await expect(server("--cluster-reset", "--server", "https://127.0.0.1:1", "--token", "x")).rejects.toMatchObject({
    code: "option/conflict",
    hint: expect.stringContaining("K3S_URL"),
  });
  await expect(server("--cluster-reset-restore-path", "/snapshot")).rejects.toMatchObject({
    code: "option/conflict",
    hint: expect.stringContaining("--cluster-reset"),
  });
  expect(await readdir(dataDir)).toEqual([]);
});
