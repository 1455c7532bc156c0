import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { Agent, request as httpsRequest } from "node:https";
import { expect, test } from "vitest";
import { type Harness, startHarness } from "./support/harness.ts";

async function setUp() {
  const held: ServerResponse[] = [];
  const harness = await startHarness({
    kubeApi: (req, res) => {
      if (req.url?.includes("watch")) res.writeHead(200).flushHeaders();
      else if (req.url?.includes("slow")) held.push(res);
      else res.end("{}");
    },
  });
  const client = await harness.registration.client("system:admin", ["system:masters"]);
  const tls = { host: "127.0.0.1", port: harness.port, ca: harness.registration.serverCa.bundlePem, ...client };
  return { harness, tls, held };
}

test("a drain ends watches at once, lets requests finish, and closes what is idle", async () => {
  const { harness, tls, held } = await setUp();
  const agent = new Agent({ keepAlive: true });
  const idle = httpsRequest({ ...tls, path: "/api", agent });
  idle.end();
  const [idleAnswer] = await once(idle, "response");
  idleAnswer.resume();
  await once(idleAnswer, "end");
  const watch = httpsRequest({ ...tls, path: "/api/v1/pods?watch=true", agent: false });
  watch.end();
  const [watching] = await once(watch, "response");
  watching.resume();
  const slow = httpsRequest({ ...tls, path: "/slow", agent: false });
  slow.end();
  await expect.poll(() => held.length).toBe(1);

  const stopped = harness.gateway.stop();
  await once(watching, "end");
  held[0]?.end("done");
  const [answer] = await once(slow, "response");
  expect(answer.headers.connection).toBe("close");
  expect(String((await once(answer, "data"))[0])).toBe("done");
  await stopped;
  await expect(harness.call("/ping")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  // Parts that stop later still ask where it was.
  expect(harness.gateway.address.port).toBe(harness.port);
  agent.destroy();
  await harness[Symbol.asyncDispose]();
});

test("an HTTP/2 client gets GOAWAY and its running stream's answer", async () => {
  const { harness, tls, held } = await setUp();
  const session = connectHttp2(`https://127.0.0.1:${harness.port}`, tls);
  const stream = session.request({ ":path": "/slow" });
  await expect.poll(() => held.length).toBe(1);
  const goaway = once(session, "goaway");
  const stopped = harness.gateway.stop();
  await goaway;
  held[0]?.end("done");
  expect(String((await once(stream, "data"))[0])).toBe("done");
  await stopped;
  await harness[Symbol.asyncDispose]();
});

test("what does not finish in time is cut", async () => {
  const { harness, tls, held } = await setUp();
  const slow = httpsRequest({ ...tls, path: "/slow", agent: false });
  slow.end();
  await expect.poll(() => held.length).toBe(1);
  const cut = once(slow, "error");
  const before = performance.now();
  await harness.gateway.stop();
  expect(performance.now() - before).toBeGreaterThan(1_900);
  await cut;
  await (harness satisfies Harness)[Symbol.asyncDispose]();
});
