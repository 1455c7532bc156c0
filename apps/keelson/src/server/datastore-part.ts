import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createDatastore, type Datastore } from "@keelson/datastore";
import type { EtcdClientOptions, EtcdTls } from "@keelson/etcd-client";
import type { Registration } from "@keelson/registration";
import { parseToken } from "@keelson/secret-format";
import { type Dependencies, KeelsonError, type Lifecycle } from "@keelson/service";
import type { ServerEtcd } from "../etcd/index.ts";
import type { ServerConfig } from "./config.ts";

/**
 * The datastore of a server, of one of four kinds. It decides what comes first: in a shared database the cluster's
 * identity lies in the datastore, embedded etcd needs the certificates before it can start.
 */
export interface DatastorePart {
  /** How the other parts reach it. TLS files are read at each connect. */
  readonly client: EtcdClientOptions;
  /** TLS files for other programs that reach it, where it asks for TLS. */
  readonly files: { caFile?: string; certFile?: string; keyFile?: string };
  /** Whether the identity (CAs, tokens) is shared through it. */
  readonly sharesIdentity: boolean;
  /** What can start before there are certificates. */
  startFirst(lifecycle: Lifecycle): Promise<void>;
  /** What needs the certificates; resolves to a few words for people who watch. */
  startRest(lifecycle: Lifecycle, registration: Registration): Promise<string>;
  /** The embedded etcd, where there is one. */
  readonly embedded: ServerEtcd | undefined;
}

/** `onRemoved`: this server's etcd member was voted out, and its API can answer nobody any more. */
export async function createDatastorePart(
  config: ServerConfig,
  deps: Dependencies,
  onRemoved: () => void,
): Promise<DatastorePart> {
  const { dataDir, values, joinUrl } = config;
  const { usesEmbeddedEtcd } = await import("../etcd/index.ts");
  const embedded = await usesEmbeddedEtcd({
    dataDir,
    datastoreEndpoint: values["datastore-endpoint"],
    clusterInit: values["cluster-init"],
    joins: joinUrl !== undefined,
  });
  if (embedded) return embeddedPart(config, { ...deps, onRemoved });
  return /^https?:/.test(config.datastoreEndpoint) ? externalEtcdPart(config) : adapterPart(config, deps);
}

/** SQLite, PostgreSQL or MySQL behind our adapter, on a Unix socket for us and with certificates for tools. */
function adapterPart(config: ServerConfig, deps: Dependencies): DatastorePart {
  const { dataDir, nodeName, datastoreEndpoint, datastoreListen, datastoreTls } = config;
  const socket = `unix://${join(dataDir, "server", "kine.sock")}`;
  const scheme = datastoreEndpoint.split(":")[0]!;
  const { caFile, certFile, keyFile } = datastoreTls;
  let datastore: Datastore | undefined;
  return {
    client: { endpoints: [socket] },
    files: {},
    sharesIdentity: scheme !== "sqlite",
    embedded: undefined,
    async startFirst(lifecycle) {
      const created = createDatastore(
        {
          endpoint: datastoreEndpoint,
          ...(caFile || certFile || keyFile ? { databaseTls: { caFile, certFile, keyFile } } : {}),
          listen: [{ url: socket }],
          name: nodeName,
          ...(datastoreListen === undefined ? {} : { advertiseClientUrls: [`https://${datastoreListen}`] }),
        },
        deps,
      );
      datastore = await lifecycle.run("datastore", created);
    },
    async startRest(_lifecycle, registration) {
      if (datastoreListen === undefined || datastore === undefined) return scheme;
      const served = datastore;
      const url = await served.listen({ url: `https://${datastoreListen}`, tls: await servingTls(registration) });
      registration.onCertificatesRenewed((files) => {
        if (!files.includes(servingFile)) return;
        servingTls(registration)
          .then((tls) => served.updateTls(tls))
          .catch((error: unknown) => deps.log.error({ err: error }, "the etcd API keeps its old certificate"));
      });
      return `${scheme}, etcd API at ${url}`;
    },
  };
}

/** The certificate that clients of the etcd API see. */
const servingFile = "etcd/server-client";

async function servingTls({ paths }: Registration): Promise<{ cert: string; key: string; clientCa: string }> {
  const [cert, key, clientCa] = await Promise.all([
    readFile(paths.certificate(servingFile), "utf8"),
    readFile(paths.key(servingFile), "utf8"),
    readFile(paths.certificate("etcd/server-ca"), "utf8"),
  ]);
  return { cert, key, clientCa };
}

/** An etcd that somebody else runs: the parts talk to it themselves. */
function externalEtcdPart(config: ServerConfig): DatastorePart {
  const endpoints = config.datastoreEndpoint.split(",");
  const { caFile, certFile, keyFile } = config.datastoreTls;
  const isSecure = endpoints.some((endpoint) => endpoint.startsWith("https:"));
  return {
    files: isSecure ? { caFile, certFile, keyFile } : {},
    client: isSecure ? { endpoints, tls: () => readTls(caFile, certFile, keyFile) } : { endpoints },
    sharesIdentity: true,
    embedded: undefined,
    startFirst: async () => {},
    startRest: async () => `external etcd at ${endpoints.join(", ")}`,
  };
}

/** A member of the cluster's own etcd, beside this server. */
async function embeddedPart(
  config: ServerConfig,
  deps: Dependencies & { onRemoved: () => void },
): Promise<DatastorePart> {
  const { dataDir, nodeName, nodeIps, values, joinUrl, tokens } = config;
  const { ServerEtcd, SqliteMigration } = await import("../etcd/index.ts");
  const token = tokens[0];
  if (joinUrl !== undefined && token === undefined) {
    throw new KeelsonError("option/missing", "a server that joins a cluster needs its token", {
      hint: "set K3S_TOKEN or give --token; it is in the file server/token of a running server",
    });
  }
  const join = joinUrl === undefined ? undefined : { url: joinUrl, password: passwordOf(token!) };
  const etcd = new ServerEtcd(
    { values, dataDir, nodeName, address: nodeIps[0]!, ...(join === undefined ? {} : { join }) },
    deps,
  );
  const { endpoint, caFile, certFile, keyFile } = etcd.datastore;
  const client = { endpoints: [endpoint], tls: () => readTls(caFile, certFile, keyFile) };
  return {
    files: { caFile, certFile, keyFile },
    client,
    sharesIdentity: false,
    embedded: etcd,
    startFirst: async () => {},
    async startRest(lifecycle) {
      const migration = await SqliteMigration.pending(dataDir, join !== undefined, deps);
      await migration?.begin();
      await lifecycle.run("embedded etcd", etcd);
      await migration?.run(client);
      return `embedded etcd at ${endpoint}`;
    },
  };
}

function passwordOf(token: string): string {
  const { bootstrap, password } = parseToken(token);
  if (bootstrap === undefined) return password;
  throw new KeelsonError("token/kind", "a bootstrap token lets agents join, not servers", {
    hint: "use the server token: the file server/token of a running server",
  });
}

function readTls(ca: string | undefined, cert: string | undefined, key: string | undefined): EtcdTls {
  if (ca === undefined) throw new KeelsonError("option/missing", "an etcd with TLS needs --datastore-cafile");
  const material: EtcdTls = { ca: readFileSync(ca, "utf8") };
  if (cert !== undefined) material.cert = readFileSync(cert, "utf8");
  if (key !== undefined) material.key = readFileSync(key, "utf8");
  return material;
}
