import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { stepReporter } from "../src/systemd.ts";

let directory: string;
const path = process.env.PATH;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "keelson-systemd-"));
  const tool = join(directory, "systemd-notify");
  await writeFile(
    tool,
    `#!/bin/sh\nprintf '%s|' "$@" >> ${join(directory, "said")}\necho >> ${join(directory, "said")}\n`,
  );
  await chmod(tool, 0o755);
  process.env.PATH = `${directory}${delimiter}${path}`;
});

afterEach(async () => {
  process.env.PATH = path;
  delete process.env.NOTIFY_SOCKET;
  await rm(directory, { recursive: true, force: true });
});

const said = (): Promise<string> => readFile(join(directory, "said"), "utf8").catch(() => "");

it("tells systemd each step, and that the service is ready with the last one", async () => {
  process.env.NOTIFY_SOCKET = "/run/systemd/notify";
  const report = stepReporter("ready");
  report("gateway", "https://192.0.2.1:6443");
  await expect.poll(said).toBe(`--pid=${process.pid}|--status=gateway: https://192.0.2.1:6443|\n`);
  report("ready", "https://192.0.2.1:6443");
  await expect.poll(said).toContain(`--pid=${process.pid}|READY=1|--status=https://192.0.2.1:6443|\n`);
});

it("says nothing where no systemd listens", async () => {
  stepReporter("ready")("ready", "here");
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(await said()).toBe("");
});
