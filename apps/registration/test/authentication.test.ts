import { createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Authority, createCaCertificate, generateEcKey, importPrivateKey, readCertificate } from "@keelson/pki";
import type { Authentication, Credentials } from "@keelson/protocol/supervisor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  createBootstrapToken,
  deleteBootstrapToken,
  listBootstrapTokens,
  sweepBootstrapTokens,
} from "../src/tokens/bootstrap-tokens.ts";
import { type Fixture, MovableClock, startRegistration } from "./support/fixture.ts";

interface TokenVectors {
  http: { case: string; authorization: string; statuses: Record<string, { status: number }> }[];
}
const vectors = JSON.parse(
  await readFile(new URL("../../../conformance/vectors/token.json", import.meta.url), "utf8"),
) as TokenVectors;

const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
const tokens = { token: "lab-server-secret", agentToken: "lab-agent-secret" };

function describeOutcome(authentication: Authentication): string {
  if (authentication.outcome !== "authenticated") return authentication.outcome;
  const { user, groups } = authentication.identity;
  return `${user} ${groups.join(",")}`;
}

async function ask({ registration }: Fixture, credentials: Credentials): Promise<string> {
  return describeOutcome(await registration.authenticate(credentials));
}

describe("an Authorization header", () => {
  it("has the outcome that it had at stock K3s, for every recorded one", async () => {
    const { registration } = await startRegistration(tokens);
    for (const { case: name, authorization, statuses } of vectors.http) {
      const header = authorization?.startsWith("Basic base64(") ? basic("node", "a".repeat(4096)) : authorization;
      const { outcome } = await registration.authenticate(header === null ? {} : { authorization: header });
      // 401 is a wrong credential; 200 and 403 tell who is in from who is not.
      const recorded = statuses["/v1-k3s/config"]!.status;
      if (recorded === 401) expect(outcome, name).toBe("refused");
      else if (recorded === 200) expect(outcome, name).toBe("authenticated");
      else expect(["anonymous", "authenticated"], name).toContain(outcome);
    }
  });

  it("gives the groups of passwd, and agents the server's password when they have none of their own", async () => {
    const alone = await startRegistration({ token: "lab-server-secret" });
    expect(await ask(alone, { authorization: basic("node", "lab-server-secret") })).toBe(
      "node k3s:agent,system:authenticated",
    );
    const separate = await startRegistration(tokens);
    expect(await ask(separate, { authorization: basic("node", "lab-server-secret") })).toBe("refused");
    expect(await ask(separate, { authorization: basic("server", "lab-server-secret") })).toBe(
      "server k3s:server,system:authenticated",
    );
  });

  it("is refused or ignored, and nothing else, whatever it is", async () => {
    const { registration } = await startRegistration(tokens);
    const header = fc.oneof(
      fc.string(),
      fc.string().map((text) => `Basic ${text}`),
      fc.base64String().map((text) => `Basic ${text}`),
      fc.string().map((text) => `Bearer ${text}`),
      fc.constant(`Basic ${"QUFB".repeat(10_000)}`),
    );
    await fc.assert(
      fc.asyncProperty(header, async (authorization) => {
        const { outcome } = await registration.authenticate({ authorization });
        return outcome !== "authenticated";
      }),
    );
  });
});

describe("a client certificate", () => {
  it("says who it is, and counts when the header is wrong", async () => {
    const fixture = await startRegistration(tokens);
    const { certPem } = await fixture.registration.readCertificate("client-admin");
    const clientCertificates = [readCertificate(certPem).der];
    expect(await ask(fixture, { clientCertificates })).toBe("system:admin system:masters,system:authenticated");
    expect(await ask(fixture, { clientCertificates, authorization: basic("node", "wrong") })).toBe(
      "system:admin system:masters,system:authenticated",
    );
    expect(await ask(fixture, { clientCertificates, authorization: basic("node", "lab-agent-secret") })).toBe(
      "node k3s:agent,system:authenticated",
    );
  });

  it("is refused when it is of another CA, of the server CA, or expired", async () => {
    const clock = new MovableClock();
    const fixture = await startRegistration(tokens, { clock });
    const key = await generateEcKey();
    const stranger = new Authority(createCaCertificate("k3s-client", key, clock.now()), key);
    const forged = stranger.issue(
      { commonName: "system:admin", organizations: ["system:masters"], purposes: ["client"] },
      createPublicKey(key),
      clock.now(),
    );
    expect(await ask(fixture, { clientCertificates: [readCertificate(forged).der] })).toBe("refused");
    const caKey = importPrivateKey(await readFile(fixture.registration.paths.key("server-ca"), "utf8"));
    const serverCa = new Authority((await fixture.registration.caBundles()).serverCaPem, caKey);
    const crossed = serverCa.issue(
      { commonName: "system:admin", purposes: ["client"] },
      createPublicKey(key),
      clock.now(),
    );
    expect(await ask(fixture, { clientCertificates: [readCertificate(crossed).der] })).toBe("refused");
    const { certPem } = await fixture.registration.readCertificate("client-admin");
    const clientCertificates = [readCertificate(certPem).der];
    expect(await ask(fixture, { clientCertificates })).toContain("system:admin");
    clock.offsetMs += 366 * 86_400_000;
    expect(await ask(fixture, { clientCertificates })).toBe("refused");
    expect(await ask(fixture, { clientCertificates: [Buffer.from("garbage")] })).toBe("refused");
  });
});

describe("a bootstrap token", () => {
  it("lets its bearer in as a bootstrapper until it expires or is deleted", async () => {
    const clock = new MovableClock();
    const fixture = await startRegistration(tokens, { clock });
    const { cluster } = fixture;
    const { id, secret } = await createBootstrapToken(cluster, { ttlMs: 3_600_000 }, clock.now());
    const bearer = { authorization: `Bearer ${id}.${secret}` };
    const bootstrapper = `system:bootstrap:${id} system:bootstrappers,system:bootstrappers:k3s:default-node-token,system:authenticated`;
    expect(await ask(fixture, bearer)).toBe(bootstrapper);
    expect(await ask(fixture, { authorization: `Bearer ${id}.${"0".repeat(16)}` })).toBe("refused");
    clock.offsetMs += 3_600_000;
    expect(await ask(fixture, bearer)).toBe("refused");
    expect(await sweepBootstrapTokens(cluster, clock.now())).toEqual([id]);
    const eternal = await createBootstrapToken(cluster, { token: "abcdef.0123456789abcdef", ttlMs: 0 }, clock.now());
    clock.offsetMs += 1e12;
    expect(await ask(fixture, { authorization: "bearer abcdef.0123456789abcdef" })).toContain(
      "system:bootstrap:abcdef",
    );
    expect(await listBootstrapTokens(cluster)).toEqual([eternal]);
    await deleteBootstrapToken(cluster, "abcdef.0123456789abcdef");
    expect(await ask(fixture, { authorization: "bearer abcdef.0123456789abcdef" })).toBe("refused");
  });

  it("counts only for its usage, and is no credential at all while the API is away", async () => {
    const fixture = await startRegistration(tokens);
    const { cluster } = fixture;
    const signing = await createBootstrapToken(cluster, { usages: ["signing"] }, Date.now());
    expect(await ask(fixture, { authorization: `Bearer ${signing.id}.${signing.secret}` })).toBe("refused");
    cluster.failure = new Error("connection refused");
    expect(await ask(fixture, { authorization: `Bearer ${signing.id}.${signing.secret}` })).toBe("refused");
  });

  it("that nobody knows costs the API no more than a few questions at once, one for each id", async () => {
    const fixture = await startRegistration(tokens);
    const asked: (() => void)[] = [];
    const held = await createBootstrapToken(fixture.cluster, {}, Date.now());
    fixture.cluster.getSecret = async () => {
      await new Promise<void>((resolve) => asked.push(resolve));
      return undefined;
    };
    const guess = (id: number): Promise<string> =>
      ask(fixture, { authorization: `Bearer ${String(id).padStart(6, "0")}.${"0".repeat(16)}` });
    const answers = Promise.all(Array.from({ length: 500 }, (_, call) => guess(call % 100)));
    await expect.poll(() => asked.length).toBe(8);
    // Whoever holds a token does not wait behind them, nor is refused for their sake.
    expect(await ask(fixture, { authorization: `Bearer ${held.id}.${held.secret}` })).toContain(held.id);
    for (const answer of asked) answer();
    expect(new Set(await answers)).toEqual(new Set(["refused"]));
    expect(asked).toHaveLength(8);
  });

  it("is refused at creation with a reason", async () => {
    const { cluster } = await startRegistration(tokens);
    const create = (options: object) => createBootstrapToken(cluster, options, Date.now());
    await expect(create({ token: "nonsense" })).rejects.toMatchObject({ code: "token/invalid" });
    await expect(create({ groups: ["system:masters"] })).rejects.toMatchObject({ code: "token/invalid-group" });
    await create({ token: "abcdef.0123456789abcdef" });
    await expect(create({ token: "abcdef.aaaaaaaaaaaaaaaa" })).rejects.toMatchObject({ code: "token/exists" });
    await expect(deleteBootstrapToken(cluster, "zzzzzz")).rejects.toMatchObject({ code: "token/not-found" });
    await expect(deleteBootstrapToken(cluster, "Z")).rejects.toMatchObject({ code: "token/invalid" });
  });
});

describe("the time of an answer", () => {
  it("does not depend on how wrong a password is", async () => {
    const { registration } = await startRegistration({ token: "a".repeat(64) });
    const guesses: Record<string, string> = {
      first: `server:b${"a".repeat(63)}`,
      last: `server:${"a".repeat(63)}b`,
      short: "server:b",
      long: `server:${"b".repeat(64)}`,
      stranger: `nobody:${"a".repeat(64)}`,
    };
    const samples: Record<string, number[]> = Object.fromEntries(Object.keys(guesses).map((name) => [name, []]));
    const order = Object.entries(guesses);
    for (let round = 0; round < 2_000; round++) {
      for (const [name, guess] of order) {
        const authorization = `Basic ${Buffer.from(guess).toString("base64")}`;
        const start = process.hrtime.bigint();
        await registration.authenticate({ authorization });
        samples[name]!.push(Number(process.hrtime.bigint() - start));
      }
      // Nobody is always the first after a collection of garbage.
      order.push(order.shift()!);
    }
    // What the machine's other work adds, it adds to some of the tries: the quickest quarter says what the answer itself takes.
    const typical = Object.values(samples).map((values) => values.sort((a, b) => a - b)[values.length >> 2]!);
    expect(Math.max(...typical) / Math.min(...typical)).toBeLessThan(1.25);
  });
});
