import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { expect, it } from "vitest";
import { defaultConfigFile } from "../src/cli/config-file.ts";
import { serverOptions } from "../src/server/options.ts";

/** The values of a setting of a unit, in words. */
function unit(name: string): (setting: string) => string[] {
  const text = readFileSync(resolve(import.meta.dirname, `../../../deploy/systemd/${name}.service`), "utf8");
  return (setting) =>
    [...text.matchAll(new RegExp(`^${setting}=(.*)$`, "gm"))].flatMap((match) => match[1]!.split(" "));
}

it.each(["keelson-server", "keelson-agent"])("%s has the folders that the program writes to by default", (name) => {
  const setting = unit(name);
  expect(setting("StateDirectory").map((folder) => join("/var/lib", folder))).toEqual([
    serverOptions["data-dir"].default,
  ]);
  const made = setting("ConfigurationDirectory").map((folder) => join("/etc", folder));
  expect(made).toContain(dirname(serverOptions["node-password-file"].default));
  // What is read-only otherwise must be opened.
  if (setting("ProtectSystem").length > 0) {
    expect(made).toContain(dirname(defaultConfigFile));
    expect(setting("ReadWritePaths").sort()).toEqual(made.sort());
  }
});
