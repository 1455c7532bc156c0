import { describe, expect, it } from "vitest";
import { lacks, startEtcd, startMariadb, startPostgres } from "../src/index.ts";
import { accepts } from "../src/servers/server-process.ts";

describe("servers of the host", { timeout: 120_000 }, () => {
  it.skipIf(lacks("etcd"))("starts etcd and takes it away again", async () => {
    const etcd = await startEtcd();
    expect(await (await fetch(`${etcd.url}/version`)).json()).toMatchObject({ etcdserver: expect.any(String) });
    await etcd.close();
    await expect(fetch(etcd.url)).rejects.toThrow();
  });

  it.skipIf(lacks("postgres", "initdb"))("starts PostgreSQL again after a crash, on the same data", async () => {
    const postgres = await startPostgres();
    await postgres.crash();
    expect(await accepts(postgres.port)).toBe(false);
    await postgres.process.start();
    expect(await accepts(postgres.port)).toBe(true);
    await postgres.close();
  });

  it.skipIf(lacks("mariadbd", "mariadb-install-db"))(
    "starts MariaDB again after a crash, on the same data",
    async () => {
      const mariadb = await startMariadb();
      await mariadb.crash();
      expect(await accepts(mariadb.port)).toBe(false);
      await mariadb.process.start();
      expect(await accepts(mariadb.port)).toBe(true);
      await mariadb.close();
    },
  );
});
