import { KubeError } from "@keelson/kube-client";
import { createCertificateRequest, generateEcKey } from "@keelson/pki";
import { createLogger, errorMessage } from "@keelson/service";
import { describe, expect, it } from "vitest";
import { createBootstrapToken } from "../src/tokens/bootstrap-tokens.ts";
import { agentIdentity, startRegistration } from "./support/fixture.ts";
import { MemoryEnvelopes } from "./support/memory-envelopes.ts";

const secrets = {
  serverToken: "server-token-7c1e",
  agentToken: "agent-token-9d2f",
  newToken: "rotated-token-3b4a",
  wrongToken: "guessed-token-5e6d",
  nodePassword: "node-password-1f2e",
  wrongNodePassword: "wrong-node-password-8a7b",
};

describe("logs, answers and errors", () => {
  it("carry no token, password or key, whatever happens", async () => {
    const seen: string[] = [];
    const log = createLogger({
      name: "test",
      level: "debug",
      format: "json",
      destination: { write: (line) => seen.push(line) },
    });
    const note = (value: unknown): void => {
      seen.push(
        value instanceof Error
          ? `${errorMessage(value)} ${value.stack} ${JSON.stringify(value)}`
          : JSON.stringify(value),
      );
    };
    const { serverToken, agentToken, newToken, wrongToken, nodePassword, wrongNodePassword } = secrets;
    const envelopes = new MemoryEnvelopes();
    const config = { token: serverToken, agentToken, sharedDatastore: true };
    const { registration, cluster } = await startRegistration(config, { envelopes, log });
    const basic = (user: string, password: string) => ({
      authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
    });
    for (const password of [serverToken, wrongToken, agentToken])
      note(await registration.authenticate(basic("node", password)));
    const token = await createBootstrapToken(cluster, {}, Date.now());
    note(await registration.authenticate({ authorization: `Bearer ${token.id}.${"x".repeat(16)}` }));
    const csrDer = createCertificateRequest(await generateEcKey());
    const issue = (password: string) =>
      registration.issueCertificate({
        kind: "client-kubelet",
        caller: agentIdentity,
        node: { name: "agent-1", password },
        csrDer,
      });
    for (const password of [nodePassword, wrongNodePassword]) note(await issue(password));
    cluster.failure = new KubeError(0, "", "the API is away");
    note(await issue(wrongNodePassword));
    cluster.failure = undefined;
    await registration.runDeferredChecks();
    for (const attempt of [wrongToken.slice(0, 3), `K10${"0".repeat(64)}::server:${wrongToken}`, newToken]) {
      note(await registration.rotateToken(attempt));
    }
    note(await registration.replaceCas(`{"ServerCA":"${Buffer.from(wrongToken).toString("base64")}"}`, true));
    await startRegistration({ ...config, token: wrongToken }, { envelopes, log }).catch(note);
    await startRegistration({ ...config, token: serverToken }, { envelopes, log }).catch(note);
    const text = seen.join("\n");
    expect(text.length).toBeGreaterThan(1_000);
    for (const [name, secret] of Object.entries({ ...secrets, bootstrap: token.secret })) {
      expect(text.includes(secret), name).toBe(false);
      expect(text.includes(Buffer.from(secret).toString("base64").replace(/=+$/, "")), `${name} in base64`).toBe(false);
    }
    expect(text).not.toContain("PRIVATE KEY");
  });
});
