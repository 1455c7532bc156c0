import { expect, test } from "vitest";
import { valueInKeyValue } from "../src/engine/key-value-bytes.ts";
import { ValueCache } from "../src/engine/value-cache.ts";
import { KeyEntry, Version } from "../src/engine/version.ts";

const capacityBytes = 1 << 16;
const valueFor = (version: Version): Buffer => Buffer.alloc(version.id % 700, `${version.id} `);

/** Versions of keys of so many bytes, one a key. */
function versionsOf(count: number, keyBytes: number): Version[] {
  return Array.from({ length: count }, (_, at) => {
    const entry = new KeyEntry(`/key/${String(at).padStart(keyBytes - 5, "0")}`);
    return new Version(entry, at + 1, at + 1, 1, undefined, undefined);
  });
}

function cacheOver(isAsynchronous: boolean): { cache: ValueCache; reads: () => number } {
  let reads = 0;
  const cache = new ValueCache(capacityBytes, (versions) => {
    reads += versions.length;
    const values = versions.map(valueFor);
    return isAsynchronous ? Promise.resolve(values) : values;
  });
  return { cache, reads: () => reads };
}

function expectValues(versions: readonly Version[], loaded: readonly (Buffer | undefined)[]): void {
  const values = versions.map((version, at) => Buffer.from(valueInKeyValue(version, loaded[at]!)).toString());
  expect(values).toEqual(versions.map((version) => valueFor(version).toString()));
}

test.each([
  ["at once", false],
  ["later", true],
])("returns right values however small the cache, read %s", async (_, isAsynchronous) => {
  const { cache } = cacheOver(isAsynchronous);
  for (const keyBytes of [20, 600]) {
    const versions = versionsOf(300, keyBytes);
    for (const size of [1, 2, 7, 20, 150, 300]) {
      for (let from = 0; from + size <= versions.length; from += size) {
        const wanted = versions.slice(from, from + size);
        const loaded = cache.load(wanted);
        expectValues(wanted, loaded instanceof Promise ? await loaded : loaded);
      }
    }
  }
});

test("keeps what was read, and not what is too much of it", async () => {
  const { cache, reads } = cacheOver(false);
  const few = versionsOf(10, 20);
  await cache.load(few);
  await cache.load(few);
  expect(reads()).toBe(10);
  const many = versionsOf(300, 600);
  await cache.load(many);
  await cache.load(few);
  expect(reads()).toBe(310);
});

test("gives copies that later reads leave alone", async () => {
  const { cache } = cacheOver(false);
  const versions = versionsOf(600, 20);
  const wanted = versions.slice(0, 20);
  await cache.load(wanted);
  const copies = cache.loadCopies(wanted);
  for (let at = 20; at < versions.length; at++) await cache.load([versions[at]!]);
  expectValues(wanted, await copies);
});
