import { describe, expect, it } from "vitest";
import { parseMysqlEndpoint } from "../src/log/sql/mysql-endpoint.ts";

describe("a MySQL endpoint", () => {
  it("has kine's defaults", () => {
    const base = { user: "root", password: "", database: "kubernetes" };
    expect(parseMysqlEndpoint("mysql://")).toMatchObject({
      ...base,
      address: { socketPath: "/var/run/mysqld/mysqld.sock" },
      tlsMode: "disable",
    });
    expect(parseMysqlEndpoint("mysql://", { caFile: "/ca" })).toMatchObject({
      ...base,
      address: { host: "127.0.0.1", port: 3306 },
      tlsMode: "verify",
    });
  });

  it("is a DSN whose password is taken as it stands", () => {
    expect(
      parseMysqlEndpoint("mysql://k3s:p@ss/w:rd%20@tcp(db.example:3307)/k3s?tls=skip-verify&timeout=500ms"),
    ).toEqual({
      address: { host: "db.example", port: 3307 },
      user: "k3s",
      password: "p@ss/w:rd%20",
      database: "k3s",
      tlsMode: "skip-verify",
      tls: {},
      connectTimeoutMs: 500,
    });
  });

  it.each([
    ["u@tcp(127.0.0.1)/db", { host: "127.0.0.1", port: 3306 }],
    ["u@tcp([::1]:3308)/db", { host: "::1", port: 3308 }],
    ["u@tcp6([::1])/", { host: "::1", port: 3306 }],
    ["u@unix(/run/my/sql.sock)/db", { socketPath: "/run/my/sql.sock" }],
    ["u:p@db.example:3309/db", { host: "db.example", port: 3309 }],
    ["u@tcp/db", { host: "127.0.0.1", port: 3306 }],
  ])("finds the address in %s", (dsn, address) => {
    expect(parseMysqlEndpoint(`mysql://${dsn}`).address).toEqual(address);
  });

  it.each([
    "u:hunter2@tcp(h:0)/db",
    "u:hunter2@tcp(h:x)/db",
    "u:hunter2@carrier-pigeon(h)/db",
    "u:hunter2@tcp(h)/db?tls=maybe",
    "u:hunter2",
  ])("is refused without showing its password: %s", (dsn) => {
    const refuse = (): unknown => parseMysqlEndpoint(`mysql://${dsn}`);
    expect(refuse).toThrow(/endpoint is malformed/);
    expect(refuse).not.toThrow(/hunter2/);
  });
});
