import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { folderOwnership } from "../src/index.ts";

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "keelson-owner-"));
  onTestFinished(() => rm(path, { recursive: true }));
  return path;
}

it("refuses a second owner by the first one's name, until the first one stops", async () => {
  const path = await folder();
  const first = folderOwnership(path);
  await first.start();
  const second = folderOwnership(path);
  await expect(second.start()).rejects.toThrow(`process ${process.pid} is at work in ${path}`);
  await second.stop();
  await expect(folderOwnership(path).start()).rejects.toMatchObject({ code: "data-dir/in-use" });
  await first.stop();
  await second.start();
  await second.stop();
});

it("is free again at once when the owner was killed", async () => {
  const path = await folder();
  const source = new URL("../src/index.ts", import.meta.url).href;
  const program = `const { folderOwnership } = await import(${JSON.stringify(source)});
    const owner = folderOwnership(${JSON.stringify(path)});
    await owner.start(); console.log("owned"); setInterval(() => owner, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  await expect(folderOwnership(path).start()).rejects.toThrow(`process ${child.pid} is at work`);
  child.kill("SIGKILL");
  await once(child, "exit");
  const next = folderOwnership(path);
  await next.start();
  await next.stop();
});

it("leaves a folder that cannot be written to whoever tries to write there", async () => {
  await folderOwnership("/proc").start();
});
