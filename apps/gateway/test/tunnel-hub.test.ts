import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import { noCapabilities, type TunnelSession, type TunnelStream } from "@keelson/protocol/tunnel";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Harness, startHarness } from "./support/harness.ts";
import { connectEgress, openTestTunnel } from "./support/tunnel-agent.ts";

let target: Server;
let harness: Harness;

beforeAll(async () => {
  target = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  await new Promise<void>((resolve) => target.listen(0, "127.0.0.1", resolve));
  harness = await startHarness({ config: { tunnel: { dialTimeoutMs: 500 } } });
});

afterAll(async () => {
  await harness[Symbol.asyncDispose]();
  target.close();
});

const targetAddress = (): string => `127.0.0.1:${(target.address() as AddressInfo).port}`;

async function untilSessions(nodeName: string, count: number): Promise<void> {
  await expect
    .poll(() => harness.gateway.tunnel.sessions().filter((session) => session.nodeName === nodeName && session.proven))
    .toHaveLength(count);
}

describe("CONNECT through a gateway", () => {
  test("reaches a node by its name", async () => {
    const agent = await openTestTunnel(harness, "node-a", {
      onConnect(session, stream, { protocol, address }) {
        expect({ protocol, address }).toEqual({ protocol: "tcp", address: "127.0.0.1:10250" });
        session.accept(stream);
        stream.pipe(stream);
      },
    });
    const { statusLine, socket } = await connectEgress(harness, "node-a:10250");
    expect(statusLine).toBe("HTTP/1.1 200 Connection established");
    socket.write("hello");
    socket.resume();
    expect(String((await once(socket, "data"))[0])).toBe("hello");
    socket.destroy();
    await expect.poll(() => agent.session.streamCount).toBe(0);
    agent.session.close("done");
  });

  test("says 502 with the reason when the target refuses, and spares the tunnel", async () => {
    const agent = await openTestTunnel(harness, "node-b", {
      onConnect: (session, stream) => session.refuse(stream, "refused", "dial tcp 127.0.0.1:10250: connection refused"),
    });
    const { statusLine } = await connectEgress(harness, "node-b:10250");
    expect(statusLine).toBe("HTTP/1.1 502 Bad Gateway: node node-b: dial tcp 127.0.0.1:10250: connection refused");
    expect(agent.session.closed).toBe(false);
    agent.session.close("done");
  });

  test("says 504 when the agent does not answer in time", async () => {
    const agent = await openTestTunnel(harness, "node-c", { onConnect: () => {} });
    const { statusLine } = await connectEgress(harness, "node-c:10250");
    expect(statusLine).toMatch(/^HTTP\/1.1 504 Gateway Timeout: node node-c: no answer/);
    agent.session.close("done");
  });

  test("says 502 for a node without a tunnel, in the words K3s looks for", async () => {
    const { statusLine } = await connectEgress(harness, "nowhere:10250");
    expect(statusLine).toContain("502 Bad Gateway: failed to find Session for client nowhere");
  });

  test("does not ask a stock agent for what would cost it its tunnel", async () => {
    const agent = await openTestTunnel(harness, "node-d", {
      capabilities: noCapabilities,
      onConnect: () => expect.unreachable("the agent was asked"),
    });
    await untilSessions("node-d", 1);
    const { statusLine } = await connectEgress(harness, "node-d:9999");
    expect(statusLine).toContain("502 Bad Gateway: node node-d: its agent does not pass on 127.0.0.1:9999");
    expect(agent.session.closed).toBe(false);
    agent.session.close("done");
  });

  test("never turns to the server's own loopback for a node", async () => {
    const { port } = target.address() as AddressInfo;
    const reached = vi.fn();
    target.on("connection", reached);
    // Refused by the agent, cut while it dials, never answered: each would work on this host.
    const answers: Record<string, (session: TunnelSession, stream: TunnelStream) => void> = {
      "refusing-node": (session, stream) => session.refuse(stream, "refused", "connection refused"),
      "cut-node": (session) => session.close("cut"),
      "silent-node": () => {},
    };
    const agents = await Promise.all(
      Object.entries(answers).map(([name, onConnect]) => openTestTunnel(harness, name, { onConnect })),
    );
    expect((await connectEgress(harness, `lost-node:${port}`)).statusLine).toMatch(/ 502 .* client lost-node: /);
    expect((await connectEgress(harness, `localhost:${port}`)).statusLine).toMatch(/ 502 .* client localhost: /);
    expect((await connectEgress(harness, `refusing-node:${port}`)).statusLine).toMatch(/ 502 .* connection refused/);
    expect((await connectEgress(harness, `cut-node:${port}`)).statusLine).toMatch(/ 502 .*node cut-node: /);
    expect((await connectEgress(harness, `silent-node:${port}`)).statusLine).toMatch(/ 504 .*no answer/);
    expect(reached).not.toHaveBeenCalled();
    target.off("connection", reached);
    for (const { session } of agents) session.close("done");
  });

  test("goes directly to addresses that no node has", async () => {
    const { statusLine, socket } = await connectEgress(harness, targetAddress());
    expect(statusLine).toContain("200");
    socket.destroy();
    expect((await connectEgress(harness, "127.0.0.1:1")).statusLine).toContain("502 Bad Gateway: dial tcp 127.0.0.1:1");
    expect((await connectEgress(harness, "nonsense")).statusLine).toContain("400");
  });
});

describe("sessions of one node", () => {
  test("a session of the same agent with a higher epoch replaces the older at once", async () => {
    const first = await openTestTunnel(harness, "node-e", { epoch: { instance: "one", epoch: 1 } });
    await untilSessions("node-e", 1);
    const second = await openTestTunnel(harness, "node-e", { epoch: { instance: "one", epoch: 2 } });
    expect(await first.closed).toContain("superseded");
    expect(second.session.closed).toBe(false);
    second.session.close("done");
  });

  test("new streams go to the newest proven session; an older one that lives stays in reserve", async () => {
    const used: string[] = [];
    const open = (name: string) =>
      openTestTunnel(harness, "node-f", {
        onConnect(session, stream) {
          used.push(name);
          session.accept(stream);
        },
      });
    const older = await open("older");
    await untilSessions("node-f", 1);
    const newer = await open("newer");
    await untilSessions("node-f", 2);
    (await connectEgress(harness, "node-f:10250")).socket.destroy();
    newer.session.close("gone");
    await untilSessions("node-f", 1);
    (await connectEgress(harness, "node-f:10250")).socket.destroy();
    expect(used).toEqual(["newer", "older"]);
    older.session.close("done");
  });

  test("an agent that drains gets no new stream while another session is there", async () => {
    const used: string[] = [];
    const open = (name: string) =>
      openTestTunnel(harness, "node-g", {
        onConnect(session, stream) {
          used.push(name);
          session.accept(stream);
        },
      });
    const staying = await open("staying");
    await untilSessions("node-g", 1);
    const leaving = await open("leaving");
    await untilSessions("node-g", 2);
    leaving.session.drain();
    await expect
      .poll(() => harness.gateway.tunnel.sessions().filter(({ nodeName, leaving }) => nodeName === "node-g" && leaving))
      .toHaveLength(1);
    (await connectEgress(harness, "node-g:10250")).socket.destroy();
    expect(used).toEqual(["staying"]);
    for (const agent of [staying, leaving]) agent.session.close("done");
  });

  test("a peer that breaks the protocol is closed with 1002 within 100 ms; its neighbour is not", async () => {
    const good = await openTestTunnel(harness, "node-h");
    const bad = await openTestTunnel(harness, "node-i");
    await untilSessions("node-i", 1);
    const started = performance.now();
    bad.socket.write(Buffer.from([0x82, 0x80, 0, 0, 0, 0])); // an empty message
    await bad.closed;
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(good.session.closed).toBe(false);
    good.session.close("done");
  });

  test("why a node lost its tunnel is known until it has another", async () => {
    const { tunnel } = harness.gateway;
    expect(tunnel.lossOf("node-k")).toBeUndefined();
    const agent = await openTestTunnel(harness, "node-k");
    await untilSessions("node-k", 1);
    agent.session.close("the agent is stopping");
    await expect.poll(() => tunnel.lossOf("node-k")).toBe("the agent is stopping");
    const back = await openTestTunnel(harness, "node-k");
    await untilSessions("node-k", 1);
    expect(tunnel.lossOf("node-k")).toBeUndefined();
    back.session.close("done");
  });

  test("a server that stops says so before it closes", async () => {
    await using other = await startHarness();
    const agent = await openTestTunnel(other, "node-j");
    await expect.poll(() => other.gateway.tunnel.sessions().some(({ proven }) => proven)).toBe(true);
    const stopped = other.gateway.tunnel.stop();
    expect(await agent.closed).toBe("the server is stopping");
    expect(agent.session.draining).toBe(true);
    await stopped;
  });
});
