import { describe, expect, it } from "vitest";
import { Health } from "../src/index.ts";

describe("health endpoints", () => {
  it("answer ok, or the listing when asked", async () => {
    const health = new Health();
    health.add("datastore", () => undefined);
    expect(await health.handle("/readyz")).toEqual({ status: 200, body: "ok" });
    expect((await health.handle("/readyz?verbose"))?.body).toBe("[+]ping ok\n[+]datastore ok\nreadyz check passed\n");
    expect(await health.handle("/other")).toBeUndefined();
    expect(await health.handle("/readyz/nothing")).toBeUndefined();
    for (const target of ["//", "///", "//[", "http://[x"]) expect(await health.handle(target)).toBeUndefined();
  });

  it("name the failed check and leave liveness alone", async () => {
    const health = new Health();
    health.add("datastore", () => "connection refused");
    const ready = await health.handle("/readyz");
    expect(ready?.status).toBe(500);
    expect(ready?.body).toContain("[-]datastore failed: connection refused");
    expect((await health.handle("/livez"))?.status).toBe(200);
    expect((await health.handle("/readyz?exclude=datastore"))?.status).toBe(200);
    expect((await health.handle("/readyz/datastore"))?.status).toBe(500);
  });

  it("a check that hangs or throws fails in time", async () => {
    const health = new Health(10);
    health.add("hangs", () => new Promise(() => {}));
    health.add("throws", () => {
      throw new Error("boom");
    });
    const { body } = (await health.handle("/readyz"))!;
    expect(body).toContain("[-]hangs failed: no answer within 10 ms");
    expect(body).toContain("[-]throws failed: boom");
  });
});
