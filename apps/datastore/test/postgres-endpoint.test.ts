import { describe, expect, it } from "vitest";
import { parsePostgresEndpoint } from "../src/log/sql/postgres-endpoint.ts";

describe("a PostgreSQL endpoint", () => {
  it("has kine's defaults", () => {
    expect(parsePostgresEndpoint("postgres://")).toMatchObject({
      hosts: [{ host: "localhost", port: 5432 }],
      user: "postgres",
      password: "postgres",
      database: "kubernetes",
      sslMode: "prefer",
    });
  });

  it("is a URL with percent-encoded parts and a lower-case database", () => {
    const endpoint = "postgresql://k3s%40home:p%2Fw%3A%40x@db.example:6432/K3S?sslmode=disable&connect_timeout=7";
    expect(parsePostgresEndpoint(endpoint)).toMatchObject({
      hosts: [{ host: "db.example", port: 6432 }],
      user: "k3s@home",
      password: "p/w:@x",
      database: "k3s",
      sslMode: "disable",
      connectTimeoutMs: 7_000,
    });
  });

  it("splits credentials off at the last @, and gives the session what is the server's", () => {
    expect(parsePostgresEndpoint("postgres://u:sec@ret@h:5433/db?search_path=k3s&sslmode=disable")).toMatchObject({
      hosts: [{ host: "h", port: 5433 }],
      user: "u",
      password: "sec@ret",
      session: { search_path: "k3s" },
    });
  });

  it("names several hosts, IPv6 addresses and unix sockets", () => {
    expect(parsePostgresEndpoint("postgres://u:p@a,b:5433,[::1]:5434/db").hosts).toEqual([
      { host: "a", port: 5432 },
      { host: "b", port: 5433 },
      { host: "::1", port: 5434 },
    ]);
    expect(parsePostgresEndpoint("postgres://u@/db?host=/var/run/postgresql&port=5433").hosts).toEqual([
      { host: "/var/run/postgresql", port: 5433 },
    ]);
  });

  it("verifies fully when it is given certificate files, unless it says otherwise", () => {
    expect(parsePostgresEndpoint("postgres://h/db", { caFile: "/ca" }).sslMode).toBe("verify-full");
    expect(parsePostgresEndpoint("postgres://h/db?sslrootcert=/ca").tls).toEqual({ caFile: "/ca" });
    expect(parsePostgresEndpoint("postgres://h/db?sslmode=require", { caFile: "/ca" }).sslMode).toBe("require");
  });

  it.each([
    "postgres://host:0/db",
    "postgres://host:port/db",
    "postgres://h/db?sslmode=maybe",
    "postgres://u:%zz@h/db",
    "postgres:/h",
    "postgres://h:5432:1/db",
  ])("is refused without showing its password: %s", (endpoint) => {
    const refuse = (): unknown => parsePostgresEndpoint(endpoint.replace("://", "://user:hunter2@"));
    expect(refuse).toThrow(/endpoint is malformed/);
    expect(refuse).not.toThrow(/hunter2/);
    expect(() => parsePostgresEndpoint("postgres://u:hunter2/3@h/db")).not.toThrow(/hunter2/);
  });
});
