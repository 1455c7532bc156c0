import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A Node; with `egress` its agent passes on more than kubelet traffic. */
export function node(name: string, ip: string, egress: boolean, kubeletPort = 10_250) {
  const labels = egress ? { "egress.k3s.io/cluster": "true" } : {};
  const status = {
    addresses: [
      { type: "Hostname", address: name },
      { type: "InternalIP", address: ip },
    ],
    daemonEndpoints: { kubeletEndpoint: { Port: kubeletPort } },
  };
  return { metadata: { name, labels, resourceVersion: "1" }, status };
}

export function pod(name: string, nodeName: string, podIP: string, hostNetwork = false, phase = "Running") {
  const metadata = { name, namespace: "default", resourceVersion: "1" };
  return { metadata, spec: { nodeName, hostNetwork }, status: { phase, podIP, podIPs: [{ ip: podIP }] } };
}

/** A Kubernetes API that has these nodes and pods, and watches that say what the test writes. */
export interface ClusterApi extends AsyncDisposable {
  socketPath: string;
  /** Resources that were asked for: `nodes`, `pods`. */
  listed: Set<string>;
  /** The last watch of each. */
  watches: Map<string, ServerResponse>;
}

export async function startClusterApi(lists: Readonly<Record<string, unknown[]>>): Promise<ClusterApi> {
  const directory = await mkdtemp(join(tmpdir(), "keelson-egress-"));
  const socketPath = join(directory, "api.sock");
  const listed = new Set<string>();
  const watches = new Map<string, ServerResponse>();
  const server = createServer((req, res) => {
    const { pathname, searchParams } = new URL(req.url!, "http://api");
    const plural = pathname.split("/").at(-1)!;
    res.setHeader("content-type", "application/json");
    if (searchParams.has("watch")) {
      watches.set(plural, res);
      return res.flushHeaders();
    }
    listed.add(plural);
    res.end(JSON.stringify({ kind: "List", metadata: { resourceVersion: "1" }, items: lists[plural] }));
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    socketPath,
    listed,
    watches,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await rm(directory, { recursive: true });
    },
  };
}
