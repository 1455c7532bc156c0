import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { tlsFromFiles } from "../src/index.ts";

let directory: string;
const file = (name: string): string => join(directory, name);

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "keelson-tls-"));
  for (const name of ["ca", "cert", "key"]) await writeFile(file(name), `${name} 1`);
});
afterEach(() => rm(directory, { recursive: true }));

const current = (source: ReturnType<typeof tlsFromFiles>) => (typeof source === "function" ? source() : source);

test("renewed files are used at the next connect, and the last good ones while they are away", async () => {
  const source = tlsFromFiles({ ca: file("ca"), cert: file("cert"), key: file("key") });
  expect(current(source)).toEqual({ ca: "ca 1", cert: "cert 1", key: "key 1" });
  await writeFile(file("cert"), "cert 2");
  expect(current(source)).toMatchObject({ cert: "cert 2" });
  await rm(file("key"));
  expect(current(source)).toEqual({ ca: "ca 1", cert: "cert 2", key: "key 1" });
});

test("what cannot be read at the start, or is half given, is said at once", () => {
  expect(() => tlsFromFiles({ ca: file("nowhere") })).toThrow(/TLS files cannot be read: .*nowhere/);
  expect(() => tlsFromFiles({ ca: file("ca"), cert: file("cert") })).toThrow(/needs its key/);
});
