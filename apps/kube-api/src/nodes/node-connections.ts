import { request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { request as httpsRequest } from "node:https";
import { connect as connectTcp, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import { errorMessage } from "@keelson/service";
import { ApiError, apiErrors } from "../http/api-error.ts";
import type { ResourceRequest } from "../http/request-info.ts";
import type { KindCatalog } from "../kinds/catalog.ts";
import { type ApiObject, fieldAt, listAt, textAt } from "../kinds/kind.ts";
import type { ObjectStore } from "../storage/object-store.ts";

export interface TlsMaterial {
  ca: string;
  cert: string;
  key: string;
}

export interface NodeConnectionsConfig {
  /** The gateway that reaches nodes through their tunnels, by CONNECT; left out, nodes are dialled directly. */
  egress: { connectUrl: string; tls: TlsMaterial } | undefined;
  /** Client certificate the kubelet accepts, and the CA of its serving certificate. */
  kubelet: TlsMaterial | undefined;
}

const dialTimeoutMs = 15_000;
const defaultKubeletPort = 10_250;
const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "te",
  "trailer",
  "upgrade",
  "host",
]);

/** Relays logs, exec, attach, port-forward and proxy requests to the kubelet of the node in question. */
export class KubeletConnections {
  readonly #store: ObjectStore;
  readonly #catalog: KindCatalog;
  readonly #config: NodeConnectionsConfig;

  constructor(store: ObjectStore, catalog: KindCatalog, config: NodeConnectionsConfig) {
    this.#store = store;
    this.#catalog = catalog;
    this.#config = config;
  }

  /** A plain request: the kubelet's answer is streamed as it comes. */
  async serve(info: ResourceRequest, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { node, port, path } = await this.#target(info);
    const socket = await this.#dialKubelet(node, port);
    await new Promise<void>((resolve, reject) => {
      const outgoing = httpRequest(
        {
          createConnection: () => socket as Socket,
          method: request.method,
          path,
          headers: { ...forwardable(request), host: node, connection: "close" },
        },
        (answer) => {
          response.writeHead(answer.statusCode ?? 502, forwardable(answer));
          response.flushHeaders();
          answer.pipe(response);
          answer.on("end", resolve);
          answer.on("error", reject);
        },
      );
      outgoing.on("error", (cause) => reject(badGateway(node, cause)));
      response.on("close", () => {
        socket.destroy();
        resolve();
      });
      request.pipe(outgoing);
    });
  }

  /** An upgrade (SPDY or WebSocket): after the request head both directions are relayed byte for byte. */
  async upgrade(info: ResourceRequest, request: IncomingMessage, client: Duplex, head: Buffer): Promise<void> {
    const { node, port, path } = await this.#target(info);
    const kubelet = await this.#dialKubelet(node, port);
    const lines = [`${request.method} ${path} HTTP/1.1`, `Host: ${node}`];
    for (let index = 0; index < request.rawHeaders.length; index += 2) {
      const name = request.rawHeaders[index]!;
      if (/^(host|authorization|x-remote-.*|impersonate-.*)$/i.test(name)) continue;
      lines.push(`${name}: ${request.rawHeaders[index + 1]}`);
    }
    kubelet.write(`${lines.join("\r\n")}\r\n\r\n`);
    if (head.length > 0) kubelet.write(head);
    relay(client, kubelet);
  }

  /** Which node, which port, which path: the kubelet's own API. Source: kubernetes pkg/registry/core/pod/strategy.go. */
  async #target(info: ResourceRequest): Promise<{ node: string; port: number; path: string }> {
    if (info.resource === "nodes") {
      const [name, portText] = (info.name ?? "").split(":") as [string, string | undefined];
      const node = await this.#node(name);
      const query = info.query.size === 0 ? "" : `?${info.query}`;
      return { node: name, port: Number(portText) || kubeletPort(node), path: `/${info.rest}${query}` };
    }
    if (info.resource !== "pods") throw apiErrors.noSuchPath();
    const kind = this.#catalog.require("pods");
    const pod = await this.#store.get({ kind, namespace: info.namespace, name: info.name ?? "" });
    if (pod === undefined) throw apiErrors.notFound(kind, info.name ?? "");
    const nodeName = textAt(pod, "spec.nodeName");
    if (nodeName === "") throw apiErrors.badRequest(`pod ${pod.metadata.name} does not have a host assigned`);
    const node = await this.#node(nodeName);
    return { node: nodeName, port: kubeletPort(node), path: podPath(info, pod) };
  }

  async #node(name: string): Promise<ApiObject> {
    const kind = this.#catalog.require("nodes");
    const node = await this.#store.get({ kind, namespace: undefined, name });
    if (node === undefined) throw apiErrors.notFound(kind, name);
    return node;
  }

  /** A TLS connection to a kubelet, verified by the cluster's CA under the node's name. */
  async #dialKubelet(node: string, port: number): Promise<Duplex> {
    const { kubelet } = this.#config;
    if (kubelet === undefined) throw badGateway(node, new Error("this server has no certificate for kubelets"));
    let transport: Duplex;
    try {
      transport = await this.#dial(node, port);
    } catch (cause) {
      throw cause instanceof ApiError ? cause : badGateway(node, cause);
    }
    return new Promise((resolve, reject) => {
      // TLS on top takes this over: one side may finish while the other still sends.
      transport.allowHalfOpen = true;
      const secured = connectTls({ socket: transport, servername: node, ...kubelet });
      const tooLong = new Error(`no TLS handshake within ${dialTimeoutMs} ms`);
      const timer = setTimeout(() => secured.destroy(tooLong), dialTimeoutMs);
      secured.once("secureConnect", () => {
        clearTimeout(timer);
        resolve(secured);
      });
      // Stays for good: later errors end the relay, which listens for itself.
      secured.on("error", (cause) => {
        clearTimeout(timer);
        reject(badGateway(node, cause));
      });
    });
  }

  #dial(node: string, port: number): Promise<Duplex> {
    const { egress } = this.#config;
    if (egress === undefined) return dialDirectly(node, port);
    const { hostname, port: gatewayPort } = new URL(egress.connectUrl);
    return new Promise((resolve, reject) => {
      const connect = httpsRequest({
        host: hostname.replace(/^\[|\]$/g, ""),
        port: Number(gatewayPort || 443),
        method: "CONNECT",
        path: `${node}:${port}`,
        agent: false,
        timeout: dialTimeoutMs,
        ...egress.tls,
      });
      connect.on("connect", (answer, socket) => {
        if (answer.statusCode === 200) return resolve(socket);
        socket.destroy();
        reject(new Error(`the gateway answered ${answer.statusCode} ${answer.statusMessage}`));
      });
      connect.on("timeout", () => connect.destroy(new Error(`no answer from the gateway within ${dialTimeoutMs} ms`)));
      connect.on("error", reject);
      connect.end();
    });
  }
}

function dialDirectly(node: string, port: number): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp({ host: node, port, timeout: dialTimeoutMs });
    socket.once("connect", () => {
      socket.setTimeout(0);
      resolve(socket);
    });
    socket.once("timeout", () => socket.destroy(new Error(`no connection within ${dialTimeoutMs} ms`)));
    socket.once("error", reject);
  });
}

function kubeletPort(node: ApiObject): number {
  const port = fieldAt(node, "status.daemonEndpoints.kubeletEndpoint.Port");
  return typeof port === "number" && port > 0 ? port : defaultKubeletPort;
}

/** The kubelet's path for a pod's subresource. */
function podPath(info: ResourceRequest, pod: ApiObject): string {
  const query = new URLSearchParams(info.query);
  const container = query.get("container") || String(listAt(pod, "spec.containers")[0]?.name ?? "");
  query.delete("container");
  const { namespace = "", name } = pod.metadata;
  const suffix = query.size === 0 ? "" : `?${query}`;
  switch (info.subresource) {
    case "log":
      return `/containerLogs/${namespace}/${name}/${container}${suffix}`;
    case "exec":
    case "attach": {
      // The API's booleans are the kubelet's flags of other names.
      const renamed = new URLSearchParams();
      for (const [key, value] of query) {
        const flag = { stdin: "input", stdout: "output", stderr: "error", tty: "tty" }[key];
        if (flag === undefined) renamed.append(key, value);
        else if (value === "true" || value === "1") renamed.append(flag, "1");
      }
      return `/${info.subresource}/${namespace}/${name}/${container}?${renamed}`;
    }
    case "portforward": {
      const ports = query.getAll("ports").join(",");
      return `/portForward/${namespace}/${name}${ports === "" ? "" : `?port=${encodeURIComponent(ports)}`}`;
    }
    default:
      throw apiErrors.noSuchPath();
  }
}

function forwardable(message: IncomingMessage): Record<string, string | string[]> {
  const result: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(message.headers)) {
    if (value === undefined || hopByHop.has(name) || /^(authorization$|x-remote-|impersonate-)/.test(name)) continue;
    result[name] = value;
  }
  return result;
}

/** Joins two streams, half-close included; an error of one ends both. */
function relay(a: Duplex, b: Duplex): void {
  a.pipe(b);
  b.pipe(a);
  a.on("error", () => b.destroy());
  b.on("error", () => a.destroy());
  a.on("close", () => b.destroy());
  b.on("close", () => a.destroy());
}

function badGateway(node: string, cause: unknown): ApiError {
  return new ApiError(
    502,
    "InternalError",
    `error dialing the kubelet of node ${node}: ${errorMessage(cause)}`,
    undefined,
    cause,
  );
}
