import { once } from "node:events";
import type { ClientRequest, IncomingMessage } from "node:http";
import { Agent, get, type RequestOptions } from "node:https";
import type { TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { issue, newAuthority, type RunningApi, startApi, WatchReader } from "./support/running-api.ts";

let running: RunningApi;
beforeAll(async () => {
  running = await startApi();
});
afterAll(() => running.close());

/** For administrators only. */
const secretsPath = "/api/v1/secrets";

/** One request over TLS, on a connection of its own or of `options.agent`. */
async function ask(
  path: string,
  options: RequestOptions,
): Promise<{ request: ClientRequest; response: IncomingMessage }> {
  const request = get(new URL(path, running.url), options);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  return { request, response };
}

async function statusOf(path: string, options: RequestOptions): Promise<number> {
  const { response } = await ask(path, options);
  response.resume();
  await once(response, "end");
  return response.statusCode ?? 0;
}

it.each(["/v1-k3s/p2p", "/v2/", "/v2/library/busybox/manifests/latest", "/debug/pprof/", "/debug/pprof/profile"])(
  "%s, a route of a feature that is off, is what it is for stock's API: unauthorized, forbidden or not found",
  async (path) => {
    const ca = running.serverCa.bundlePem;
    const client = (commonName: string, organization: string) =>
      issue(running.clientCa, { commonName, organizations: [organization], purpose: "client" });
    expect(await statusOf(path, { ca })).toBe(401);
    expect(await statusOf(path, { ca, ...(await client("system:node:a", "system:nodes")) })).toBe(403);
    expect(await statusOf(path, { ca, ...(await client("system:admin", "system:masters")) })).toBe(404);
  },
);

describe("a client certificate on the API's TLS port", () => {
  it("gives its holder every group that it names", async () => {
    const { serverCa, clientCa } = running;
    const organizations = ["system:masters", "developers", "a + O=b"];
    const admin = await issue(clientCa, { commonName: "somebody", organizations, purpose: "client" });
    expect(await statusOf(secretsPath, { ca: serverCa.bundlePem, ...admin })).toBe(200);
    const pretender = { commonName: "somebody", organizations: ["x\nO=system:masters"], purpose: "client" } as const;
    expect(await statusOf(secretsPath, { ca: serverCa.bundlePem, ...(await issue(clientCa, pretender)) })).toBe(403);
  });

  it("is none when it is a server's, or of another CA", async () => {
    const profile = { commonName: "system:admin", organizations: ["system:masters"] };
    const ca = running.serverCa.bundlePem;
    for (const wrong of [
      await issue(running.clientCa, { ...profile, purpose: "server" }),
      await issue(await newAuthority("client"), { ...profile, purpose: "client" }),
    ]) {
      expect(await statusOf(secretsPath, { ca, ...wrong })).toBe(401);
    }
  });

  it("is judged by the CAs of today, on open connections too, while a watch goes on", async () => {
    const { api, serverCa, clientCa } = running;
    const profile = { commonName: "system:admin", organizations: ["system:masters"], purpose: "client" } as const;
    const [newServerCa, newClientCa, proxyCa] = await Promise.all(["server", "client", "proxy"].map(newAuthority));
    const old = await issue(clientCa, profile);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const kept = { ca: serverCa.bundlePem, ...old, agent };
    expect(await statusOf(secretsPath, kept)).toBe(200);
    const { response: stream } = await ask("/api/v1/configmaps?watch=1", { ca: serverCa.bundlePem, ...old });
    const watch = new WatchReader(stream);

    api.renewTls({
      clientCaPem: newClientCa!.bundlePem,
      requestHeaderCaPem: proxyCa!.bundlePem,
      serving: await issue(newServerCa!, { commonName: "kube-apiserver", purpose: "server" }),
    });
    const { request, response } = await ask(secretsPath, kept);
    response.resume();
    expect([request.reusedSocket, response.statusCode]).toEqual([true, 401]);
    const fresh = { ca: newServerCa!.bundlePem, ...(await issue(newClientCa!, profile)) };
    const renewed = await ask(secretsPath, fresh);
    renewed.response.resume();
    expect(renewed.response.statusCode).toBe(200);
    expect((renewed.response.socket as TLSSocket).authorized).toBe(true);

    const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "after" } };
    await running.call("POST", "/api/v1/namespaces/default/configmaps", { body });
    for (;;) {
      const { object } = await watch.next();
      if (object.metadata.name === "after") break;
    }
    watch.close();
    agent.destroy();
  });
});
