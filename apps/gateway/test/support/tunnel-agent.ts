import { randomBytes } from "node:crypto";
import { request } from "node:https";
import { connect as connectTcp, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import {
  allCapabilities,
  type Capabilities,
  type ConnectTarget,
  capabilityHeader,
  formatCapabilities,
  noCapabilities,
  type SessionEpoch,
  TunnelSession,
  type TunnelStream,
} from "@keelson/protocol/tunnel";
import { systemClock } from "@keelson/service";
import type { FakeRegistration } from "./fake-registration.ts";

export interface TestAgent {
  session: TunnelSession;
  socket: Duplex;
  /** Resolves with the reason when the session is over. */
  closed: Promise<string>;
}

/** An agent's tunnel to a gateway. Without `capabilities` it is as silent about them as a stock one. */
export async function openTestTunnel(
  gateway: { port: number; registration: FakeRegistration },
  nodeName: string,
  options: {
    capabilities?: Capabilities;
    epoch?: SessionEpoch;
    onConnect?: (session: TunnelSession, stream: TunnelStream, target: ConnectTarget) => void;
  } = {},
): Promise<TestAgent> {
  const identity = await gateway.registration.client(`system:node:${nodeName}`, ["system:nodes"]);
  const capabilities = options.capabilities ?? allCapabilities;
  const offer = formatCapabilities({ capabilities, ...(options.epoch === undefined ? {} : { epoch: options.epoch }) });
  const { promise: closed, resolve: onClosed } = Promise.withResolvers<string>();
  return new Promise((resolve, reject) => {
    const req = request({
      host: "127.0.0.1",
      port: gateway.port,
      path: "/v1-k3s/connect",
      agent: false,
      ca: gateway.registration.serverCa.bundlePem,
      ...identity,
      headers: {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": randomBytes(16).toString("base64"),
        ...(capabilities === noCapabilities ? {} : { [capabilityHeader]: offer }),
      },
    });
    req.once("error", reject);
    req.once("response", (res) => reject(new Error(`the gateway answered ${res.statusCode}`)));
    req.once("upgrade", (_res, socket, head) => {
      const session: TunnelSession = new TunnelSession({
        role: "client",
        transport: socket,
        head,
        capabilities,
        sessionName: "client/0",
        clock: systemClock,
        onConnect: (stream, target) => (options.onConnect ?? dialForReal)(session, stream, target),
        onClosed: ({ message }) => onClosed(message),
      });
      resolve({ session, socket, closed });
    });
    req.end();
  });
}

/** What an agent does: dial and pipe. */
function dialForReal(session: TunnelSession, stream: TunnelStream, { address }: ConnectTarget): void {
  const [host, port] = address.split(":");
  const socket = connectTcp({ host, port: Number(port), allowHalfOpen: true });
  stream.on("error", () => {});
  socket.once("connect", () => {
    session.accept(stream);
    stream.pipe(socket);
    socket.pipe(stream);
  });
  socket.once("error", (error) => session.refuse(stream, "refused", error.message));
  stream.once("close", () => socket.destroy());
}

/** CONNECT as kube-apiserver does it: resolves with the status line, and the socket behind it when it was 200. */
export async function connectEgress(
  gateway: { port: number; registration: FakeRegistration },
  target: string,
): Promise<{ statusLine: string; socket: Socket }> {
  const identity = await gateway.registration.client("system:apiserver", ["system:masters"]);
  const socket = connectTls({
    host: "127.0.0.1",
    port: gateway.port,
    ca: gateway.registration.serverCa.bundlePem,
    ...identity,
  });
  socket.on("error", () => {});
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
  return new Promise((resolve, reject) => {
    let received = "";
    const onData = (chunk: Buffer): void => {
      received += chunk.toString("latin1");
      const end = received.indexOf("\r\n");
      if (end < 0) return;
      socket.off("data", onData);
      socket.pause();
      resolve({ statusLine: received.slice(0, end), socket });
    };
    socket.on("data", onData);
    socket.once("close", () => reject(new Error(`closed after ${JSON.stringify(received)}`)));
  });
}
