import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Dependencies } from "@keelson/service";
import { createGateway, type Gateway, type GatewayConfig } from "../../src/index.ts";
import { type ClientIdentity, createFakeRegistration, type FakeRegistration } from "./fake-registration.ts";

export interface Answer {
  status: number;
  headers: IncomingMessage["headers"];
  body: string;
}

export interface CallOptions {
  method?: string;
  headers?: Record<string, string | string[]>;
  body?: string | Uint8Array;
  client?: ClientIdentity;
  /** `user:password` */
  basic?: string;
}

/** A gateway on port 0 with a fake registration and a Kubernetes API of the test's own on a unix socket. */
export interface Harness extends AsyncDisposable {
  gateway: Gateway;
  registration: FakeRegistration;
  kubeApi: Server;
  /** Requests the Kubernetes API has seen. */
  seen: IncomingMessage[];
  port: number;
  directory: string;
  call(path: string, options?: CallOptions): Promise<Answer>;
}

export async function startHarness(
  options: {
    kubeApi?: (req: IncomingMessage, res: ServerResponse) => void;
    config?: Partial<GatewayConfig>;
    registration?: FakeRegistration;
    deps?: Partial<Dependencies>;
  } = {},
): Promise<Harness> {
  const directory = await mkdtemp(join(tmpdir(), "keelson-gateway-"));
  const socketPath = join(directory, "kube-api.sock");
  const seen: IncomingMessage[] = [];
  const kubeApi = createServer((req, res) => {
    seen.push(req);
    if (options.kubeApi !== undefined) options.kubeApi(req, res);
    else res.writeHead(200, { "Content-Type": "application/json" }).end('{"kind":"Fake"}');
  });
  await new Promise<void>((resolve) => {
    kubeApi.listen(socketPath, resolve);
  });
  const registration = options.registration ?? (await createFakeRegistration());
  const config: GatewayConfig = {
    listen: { host: "127.0.0.1", port: 0 },
    registration,
    kubeApi: { socketPath },
    listenerDirectory: directory,
    staticDirectory: join(directory, "static"),
    drainTimeoutMs: 2_000,
    ...options.config,
  };
  const gateway = createGateway(config, options.deps);
  await gateway.start();
  const { port } = gateway.address;
  return {
    gateway,
    registration,
    kubeApi,
    seen,
    port,
    directory,
    call: (path, call = {}) => callHttps(port, registration.serverCa.bundlePem, path, call),
    async [Symbol.asyncDispose]() {
      await gateway.stop();
      kubeApi.closeAllConnections();
      await new Promise((resolve) => {
        kubeApi.close(resolve);
      });
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** One request on a connection of its own. */
export function callHttps(port: number, ca: string, path: string, options: CallOptions): Promise<Answer> {
  const { method = "GET", headers = {}, body, client, basic } = options;
  const authorization = basic === undefined ? {} : { Authorization: `Basic ${Buffer.from(basic).toString("base64")}` };
  return new Promise((resolve, reject) => {
    const req = httpsRequest(
      { host: "127.0.0.1", port, path, method, ca, agent: false, headers: { ...authorization, ...headers }, ...client },
      (res) => {
        const chunks: Buffer[] = [];
        res.on("data", (chunk: Buffer) => chunks.push(chunk));
        res.once("end", () => {
          resolve({ status: res.statusCode ?? 0, headers: res.headers, body: Buffer.concat(chunks).toString() });
        });
        res.once("error", reject);
      },
    );
    req.once("error", reject);
    req.end(body);
  });
}
