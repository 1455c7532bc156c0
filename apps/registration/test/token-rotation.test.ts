import { readFile } from "node:fs/promises";
import { bootstrapKey, openBootstrap, parseBootstrapData } from "@keelson/secret-format";
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
});
