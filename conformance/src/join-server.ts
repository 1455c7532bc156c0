import { mkdir } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { join } from "node:path";
import { createGateway, type Gateway, type GatewayConfig } from "@keelson/gateway";
import { statusBody } from "@keelson/protocol/supervisor";
import { Registration, type RegistrationConfig } from "@keelson/registration";
import { type Dependencies, withDefaults } from "@keelson/service";
import { MemoryClusterApi } from "./memory-cluster-api.ts";

export interface JoinServer {
  url: string;
  gateway: Gateway;
  registration: Registration;
  cluster: MemoryClusterApi;
  /** PEM of the administrator's client certificate, and the CA that signed the server's. */
  admin: { ca: string; cert: string; key: string };
  stop(): Promise<void>;
}

export interface JoinServerOptions {
  dataDir: string;
  registration?: Partial<RegistrationConfig>;
  gateway?: Partial<GatewayConfig>;
  kubeApi?: (req: IncomingMessage, res: ServerResponse) => void;
  deps?: Partial<Dependencies>;
}

/**
 * What an agent joins, and nothing else: the real gateway and the real registration, with the Kubernetes API replaced by
 * a few objects in memory and, on its socket, by `kubeApi` (stock's "not found" for every path but health checks).
 */
export async function startJoinServer(options: JoinServerOptions): Promise<JoinServer> {
  const { dataDir } = options;
  await mkdir(join(dataDir, "server"), { recursive: true });
  const deps = withDefaults(options.deps);
  const cluster = new MemoryClusterApi();
  const registration = new Registration(
    { dataDir, nodeName: "server-1", nodeIps: ["127.0.0.1"], httpsPort: 6443, ...options.registration },
    { ...deps, clusterApi: cluster },
  );
  await registration.start();
  const socketPath = join(dataDir, "server", "kube-api.sock");
  const kubeApi = createServer(options.kubeApi ?? answerLikeAnEmptyApi);
  await listen(kubeApi, socketPath);
  const gateway = createGateway(
    {
      listen: { host: "127.0.0.1", port: 0 },
      registration,
      kubeApi: { socketPath },
      listenerDirectory: registration.paths.tls,
      staticDirectory: join(dataDir, "server", "static"),
      drainTimeoutMs: 1_000,
      ...options.gateway,
    },
    deps,
  );
  await gateway.start();
  const { port } = gateway.address;
  cluster.addresses = [`127.0.0.1:${port}`];
  const { serverCaPem } = await registration.caBundles();
  const { certPem, keyPem } = await registration.readCertificate("client-admin");
  return {
    url: `https://127.0.0.1:${port}`,
    gateway,
    registration,
    cluster,
    admin: { ca: serverCaPem, cert: certPem, key: keyPem },
    async stop() {
      await gateway.stop();
      await registration.stop();
      kubeApi.closeAllConnections();
      await new Promise((resolve) => {
        kubeApi.close(resolve);
      });
    },
  };
}

function answerLikeAnEmptyApi(req: IncomingMessage, res: ServerResponse): void {
  if (/^\/(readyz|livez|healthz)\b/.test(req.url ?? "")) {
    res.writeHead(200, { "Content-Type": "text/plain; charset=utf-8" }).end("ok");
    return;
  }
  const [status, message] = isAdmin(req)
    ? ([404, "the server could not find the requested resource"] as const)
    : ([403, "forbidden"] as const);
  res.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(statusBody(status, message)));
}

function isAdmin(req: IncomingMessage): boolean {
  return String(req.headers["x-remote-group"]).includes("system:masters");
}

function listen(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(socketPath, () => resolve());
  });
}
