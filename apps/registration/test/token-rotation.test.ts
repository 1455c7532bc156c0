import { readFile } from "node:fs/promises";
import { bootstrapKey, openBootstrap, parseBootstrapData, sealBootstrap } from "@keelson/secret-format";
import { createLogger, ManualClock } from "@keelson/service";
import { describe, expect, it } from "vitest";
import { startRegistration } from "./support/fixture.ts";
import { MemoryEnvelopes } from "./support/memory-envelopes.ts";

const basic = (user: string, password: string) => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
});

describe("rotating the server token", () => {
  it("is in force at once, in the files and in the envelope, and the old token is not", async () => {
    const envelopes = new MemoryEnvelopes();
    const { registration } = await startRegistration({ token: "first-secret", sharedDatastore: true }, { envelopes });
    expect(await registration.rotateToken("second-secret")).toEqual({ ok: true, value: undefined });
    const outcome = async (user: string, password: string): Promise<string> =>
      (await registration.authenticate(basic(user, password))).outcome;
    expect(await outcome("server", "second-secret")).toBe("authenticated");
    expect(await outcome("node", "second-secret")).toBe("authenticated");
    expect(await outcome("server", "first-secret")).toBe("refused");
    expect(await outcome("node", "first-secret")).toBe("refused");
    expect(await readFile(registration.paths.token, "utf8")).toMatch(/::server:second-secret\n$/);
    expect([...envelopes.values.keys()].filter((key) => key.startsWith("/bootstrap"))).toEqual([
      bootstrapKey("second-secret"),
    ]);
    const envelope = envelopes.values.get(bootstrapKey("second-secret"))!.value;
    const data = parseBootstrapData(openBootstrap("second-secret", envelope));
    expect(data.PasswdFile!.content.toString()).toBe(await readFile(registration.paths.passwd, "utf8"));
  });

  it("leaves a separate agent token alone", async () => {
    const { registration } = await startRegistration({ token: "first-secret", agentToken: "agent-secret" });
    // With the same token for both, every agent could join as a server.
    const merged = await registration.rotateToken("agent-secret");
    expect(merged).toMatchObject({ refusal: { status: 400, code: "token/agent-token" } });
    expect((await registration.authenticate(basic("server", "first-secret"))).outcome).toBe("authenticated");
    await registration.rotateToken("second-secret");
    expect((await registration.authenticate(basic("node", "agent-secret"))).outcome).toBe("authenticated");
    expect((await registration.authenticate(basic("node", "second-secret"))).outcome).toBe("refused");
  });

  it("reaches the other servers without a restart", async () => {
    const envelopes = new MemoryEnvelopes();
    const config = { token: "first-secret", sharedDatastore: true };
    const first = await startRegistration(config, { envelopes });
    const second = await startRegistration(config, { envelopes });
    await first.registration.rotateToken("");
    await expect.poll(() => second.registration.serverToken).toBe(first.registration.serverToken);
    expect((await second.registration.authenticate(basic("server", "first-secret"))).outcome).toBe("refused");
    // And back from the other side, with the notice of the first rotation still there.
    await second.registration.rotateToken("third-secret");
    await expect.poll(() => first.registration.serverToken).toBe(second.registration.serverToken);
    await second.registration.stop();
    // A server that was off comes back with the new token, and for a while even with the one that it knew.
    const { dataDir } = second;
    await startRegistration({ ...config, token: "third-secret", dataDir }, { envelopes });
    expect(first.registration.serverToken).toMatch(/::server:third-secret$/);
  });

  it("is told to a server that was off meanwhile, as long as the notice is there", async () => {
    const envelopes = new MemoryEnvelopes();
    const config = { token: "first-secret", sharedDatastore: true };
    const first = await startRegistration(config, { envelopes });
    const second = await startRegistration(config, { envelopes });
    await second.registration.stop();
    await first.registration.rotateToken("second-secret");
    const again = await startRegistration({ ...config, dataDir: second.dataDir }, { envelopes });
    expect(again.registration.serverToken).toBe(first.registration.serverToken);
    await again.registration.stop();
    // Later it is told what to do.
    envelopes.values.delete("/keelson/token-rotation");
    await expect(startRegistration({ ...config, dataDir: second.dataDir }, { envelopes })).rejects.toThrow(
      /encrypted with different token: the datastore holds \/bootstrap\/[0-9a-f]{12}, the configured/,
    );
  });

  it.each([
    ["the token in force", "first-secret", 400],
    ["one that pins another CA", `K10${"0".repeat(64)}::server:second-secret`, 400],
    ["one that cannot be typed", "second secret", 400],
    ["one that is too short", "abc", 400],
    ["a bootstrap token", "abcdef.0123456789abcdef", 400],
  ])("is refused before anything is written for %s", async (_, token, status) => {
    const envelopes = new MemoryEnvelopes();
    const { registration } = await startRegistration({ token: "first-secret", sharedDatastore: true }, { envelopes });
    const { writes } = envelopes;
    const before = await readFile(registration.paths.passwd, "utf8");
    expect(await registration.rotateToken(token)).toMatchObject({ ok: false, refusal: { status } });
    expect([envelopes.writes, await readFile(registration.paths.passwd, "utf8")]).toEqual([writes, before]);
  });

  it("is refused as a whole when the other servers could not learn of it", async () => {
    const envelopes = new MemoryEnvelopes();
    const { registration } = await startRegistration({ token: "first-secret", sharedDatastore: true }, { envelopes });
    envelopes.failure = new Error("datastore is away");
    const answer = await registration.rotateToken("second-secret");
    expect(answer).toMatchObject({ ok: false, refusal: { status: 503, hint: "the old token stays in force" } });
    expect((await registration.authenticate(basic("server", "first-secret"))).outcome).toBe("authenticated");
    expect(JSON.stringify(answer)).not.toContain("second-secret");
  });

  it("is made as a whole or not at all, whichever request to the datastore fails", async () => {
    const envelopes = new MemoryEnvelopes();
    const config = { token: "first-secret", sharedDatastore: true };
    const [a, b] = [await startRegistration(config, { envelopes }), await startRegistration(config, { envelopes })];
    const accepts = async ({ registration }: typeof a): Promise<string[]> => {
      const known = ["first-secret", "second-secret"].map(async (password) =>
        (await registration.authenticate(basic("server", password))).outcome === "authenticated" ? [password] : [],
      );
      return (await Promise.all(known)).flat();
    };
    for (let failing = 1; failing <= 3; failing++) {
      envelopes.failAt = failing;
      const answer = await a.registration.rotateToken("second-secret");
      expect(answer).toMatchObject({ ok: false, refusal: { status: 503 } });
      expect([await accepts(a), await accepts(b)]).toEqual([["first-secret"], ["first-secret"]]);
      expect([...envelopes.values.keys()]).toEqual([bootstrapKey("first-secret")]);
    }
    envelopes.failAt = undefined;
    expect(await a.registration.rotateToken("second-secret")).toEqual({ ok: true, value: undefined });
    await expect.poll(() => accepts(b)).toEqual(["second-secret"]);
    expect(await accepts(a)).toEqual(["second-secret"]);
  });

  it("is finished by asking again when the datastore took it and its answer was lost", async () => {
    const envelopes = new MemoryEnvelopes();
    const config = { token: "first-secret", sharedDatastore: true };
    const [a, b] = [await startRegistration(config, { envelopes }), await startRegistration(config, { envelopes })];
    envelopes.losesAnswers = true;
    expect(await a.registration.rotateToken("second-secret")).toMatchObject({
      ok: false,
      refusal: { code: "token/rotation-unconfirmed", hint: expect.stringContaining("again") },
    });
    envelopes.losesAnswers = false;
    for (const { registration } of [a, b]) await expect.poll(() => registration.serverToken).toMatch(/second-secret$/);
  });

  it("is finished when an envelope of this cluster is under the new token already, and refused when it is another's", async () => {
    const envelopes = new MemoryEnvelopes();
    const config = { token: "first-secret", sharedDatastore: true };
    const { registration } = await startRegistration(config, { envelopes });
    const ours = openBootstrap("first-secret", envelopes.values.get(bootstrapKey("first-secret"))!.value);
    await envelopes.create(bootstrapKey("second-secret"), sealBootstrap("second-secret", ours));
    await envelopes.create(bootstrapKey("third-secret"), sealBootstrap("third-secret", "{}"));
    expect(await registration.rotateToken("third-secret")).toMatchObject({ refusal: { code: "token/in-use" } });
    expect(await registration.rotateToken("second-secret")).toEqual({ ok: true, value: undefined });
    expect(envelopes.values.has(bootstrapKey("first-secret"))).toBe(false);
  });

  it("is missed by a server that was cut off: it refuses the old token, and takes up the new one from who shows it", async () => {
    const envelopes = new MemoryEnvelopes();
    const config = { token: "first-secret", sharedDatastore: true };
    const first = await startRegistration(config, { envelopes });
    const second = await startRegistration(config, { envelopes });
    const outcome = async (user: string, password: string): Promise<string> =>
      (await second.registration.authenticate(basic(user, password))).outcome;
    envelopes.isDeaf = true;
    await first.registration.rotateToken("second-secret");
    envelopes.values.delete("/keelson/token-rotation");
    expect(await outcome("node", "first-secret")).toBe("authenticated");
    envelopes.hearAgain();
    await expect.poll(() => outcome("node", "first-secret")).toBe("refused");
    expect(await outcome("node", "third-secret")).toBe("refused");
    expect(await outcome("node", "second-secret")).toBe("authenticated");
    expect(await outcome("server", "first-secret")).toBe("refused");
    expect(second.registration.serverToken).toBe(first.registration.serverToken);
    expect(await readFile(second.registration.paths.token, "utf8")).toMatch(/::server:second-secret\n$/);
  });

  it("is not undone by a server that missed it: the old token's envelope does not come back", async () => {
    const envelopes = new MemoryEnvelopes();
    const clock = new ManualClock();
    const config = { token: "first-secret", sharedDatastore: true };
    const a = await startRegistration(config, { envelopes });
    const lines: string[] = [];
    const log = createLogger({ name: "test", destination: { write: (line) => lines.push(line) } });
    await startRegistration(config, { envelopes, clock, log });
    envelopes.isDeaf = true;
    await a.registration.rotateToken("second-secret");
    clock.advance(6 * 3_600_000);
    await expect.poll(() => lines.join("")).toContain("runs on a token that is not the cluster's any more");
    expect([...envelopes.values.keys()].filter((key) => key.startsWith("/bootstrap"))).toEqual([
      bootstrapKey("second-secret"),
    ]);
    envelopes.values.delete("/keelson/token-rotation");
    await expect(startRegistration(config, { envelopes })).rejects.toMatchObject({ code: "bootstrap/other-token" });
  });
});
