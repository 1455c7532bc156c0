import { type KeyObject, X509Certificate } from "node:crypto";
import {
  createCertificateRequest,
  exportPrivateKey,
  generateEcKey,
  importPrivateKey,
  splitCertificateAndKey,
} from "@keelson/pki/csr";
import { nodeHeaders, type ServerConfig } from "@keelson/protocol/supervisor";
import { hashCaBundle, type Token } from "@keelson/secret-format";
import { errorCode, KeelsonError, readFileIfExists } from "@keelson/service";
import { type AgentLayout, type LeafName, leafNames } from "../layout.ts";
import { refusalText, type SupervisorAnswer, SupervisorClient } from "./supervisor-client.ts";

export interface Leaf {
  certPem: string;
  keyPem: string;
}

/** Everything a server hands to a joining agent. */
export interface Joined {
  config: ServerConfig;
  serverCaPem: string;
  clientCaPem: string;
  leaves: Record<LeafName, Leaf>;
  clockSkew: { skewMs: number; errorMs: number } | undefined;
}

export interface JoinInput {
  /** Where the supervisor is reached: the local load balancer. */
  address: { host: string; port: number };
  token: Token;
  node: { name: string; password: string; ips: readonly string[] };
  layout: AgentLayout;
}

/**
 * Joins a cluster: the CA first, checked against the token's pin before anything secret is sent; then, side by side on kept
 * connections, the configuration, the CA files and the certificates. Keys never leave the host and are reused.
 */
export async function join(input: JoinInput): Promise<Joined> {
  const keys = loadKeys(input.layout);
  keys.catch(() => {}); // awaited below; until then a failure must not count as unhandled
  const caPem = await fetchCa(input.address, input.token);
  const { client, config } = await introduce(input, caPem);
  try {
    const [serverCaPem, clientCaPem, leaves] = await Promise.all([
      fetchText(client, "/v1-k3s/server-ca.crt"),
      fetchText(client, "/v1-k3s/client-ca.crt"),
      fetchLeaves(client, input.node, await keys),
    ]);
    return { config, serverCaPem, clientCaPem, leaves, clockSkew: client.clockSkew };
  } finally {
    client.close();
  }
}

/**
 * Makes ourselves known, and asks for the configuration by it. A node that has a certificate shows it beside the token, which
 * may have ended since: bootstrap tokens do by themselves. A server that does not like it (its CAs are others now, or it is of
 * 2021) is asked with the token alone.
 */
async function introduce({ address, token, node, layout }: JoinInput, ca: string) {
  const certificate = await storedCertificate(layout, node.name);
  const ask = async (way: { clientCertificate?: { cert: string; key: string } }) => {
    const client = new SupervisorClient({ ...address, ca, authorization: authorizationOf(token), ...way });
    try {
      return { client, config: await fetchConfig(client) };
    } catch (error) {
      client.close();
      throw error;
    }
  };
  if (certificate === undefined) return ask({});
  try {
    return await ask({ clientCertificate: certificate });
  } catch (error) {
    if (errorCode(error) !== "join/token-rejected") throw error;
    return ask({});
  }
}

/** This node's certificate from an earlier join, while it is valid. */
async function storedCertificate(
  layout: AgentLayout,
  nodeName: string,
): Promise<{ cert: string; key: string } | undefined> {
  const [cert, key] = await Promise.all([
    readFileIfExists(layout.certificate("client-kubelet")),
    readFileIfExists(layout.key("client-kubelet")),
  ]);
  if (cert === undefined || key === undefined || tryImport(key) === undefined) return undefined;
  try {
    const { subject, validToDate } = new X509Certificate(cert);
    const isOurs = subject.split("\n").includes(`CN=system:node:${nodeName}`);
    return isOurs && validToDate.getTime() > Date.now() ? { cert, key } : undefined;
  } catch {
    return undefined; // a damaged file: the token makes a new one
  }
}

/** The cluster's server CA, verified against the pin of a full token. */
export async function fetchCa(address: { host: string; port: number }, token: Token): Promise<string> {
  const open = new SupervisorClient(address);
  try {
    const answer = await open.send({ path: "/cacerts" });
    if (answer.status !== 200) {
      throw new KeelsonError("join/no-ca", `the server does not hand out its CA: ${refusalText(answer)}`, {
        hint: "check that --server names a K3s or Keelson server",
      });
    }
    const actual = hashCaBundle(answer.body);
    if (token.caHash !== undefined && token.caHash !== "" && token.caHash !== actual) {
      throw new KeelsonError(
        "join/ca-pin",
        `token CA hash does not match the Cluster CA certificate hash: ${token.caHash} != ${actual}`,
        { hint: "the token is of another cluster, or somebody stands between: copy server/token from a server again" },
      );
    }
    return answer.body.toString("utf8");
  } finally {
    open.close();
  }
}

/** `Basic node:<password>`, whatever user the token names; a bootstrap token goes as Bearer. */
export function authorizationOf(token: Token): string {
  if (token.bootstrap !== undefined) return `Bearer ${token.bootstrap.id}.${token.bootstrap.secret}`;
  return `Basic ${Buffer.from(`node:${token.password}`).toString("base64")}`;
}

async function fetchConfig(client: SupervisorClient): Promise<ServerConfig> {
  const answer = await client.send({ path: "/v1-k3s/config" });
  if (answer.status === 401 || answer.status === 403) {
    throw new KeelsonError("join/token-rejected", "the server does not accept this token", {
      hint: "use the agent token, or the line in server/token of a server",
      status: answer.status,
    });
  }
  const text = expectOk(answer, "/v1-k3s/config");
  try {
    return JSON.parse(text) as ServerConfig;
  } catch (cause) {
    throw new KeelsonError("join/config", "the server's configuration cannot be read", { cause });
  }
}

async function fetchText(client: SupervisorClient, path: string): Promise<string> {
  return expectOk(await client.send({ path }), path);
}

function expectOk(answer: SupervisorAnswer, path: string): string {
  if (answer.status === 200) return answer.body.toString("utf8");
  const busy = answer.status === 429 || answer.status === 503;
  throw new KeelsonError("join/refused", `the server answered ${answer.status} to ${path}: ${refusalText(answer)}`, {
    hint: busy ? "it is still starting or busy; the agent tries again by itself" : "look at the server's log",
    status: answer.status,
  });
}

async function fetchLeaves(
  client: SupervisorClient,
  node: JoinInput["node"],
  keys: Record<LeafName, KeyObject>,
): Promise<Record<LeafName, Leaf>> {
  const leaves = await Promise.all(
    leafNames.map(async (leaf) => [leaf, await requestLeaf(client, leaf, node, keys[leaf])] as const),
  );
  return Object.fromEntries(leaves) as Record<LeafName, Leaf>;
}

/** One certificate: a CSR in DER; a server of 2021 ignores it and answers with a key of its own, which then counts. */
export async function requestLeaf(
  client: SupervisorClient,
  leaf: LeafName,
  node: JoinInput["node"],
  key: KeyObject,
): Promise<Leaf> {
  const path = `/v1-k3s/${leaf}.crt`;
  const kubelet = leaf.endsWith("kubelet");
  const headers: Record<string, string> = kubelet
    ? {
        [nodeHeaders.name]: node.name,
        [nodeHeaders.password]: node.password,
        [nodeHeaders.ips]: node.ips.join(","),
      }
    : {};
  const answer = await client.send({ method: "POST", path, headers, body: createCertificateRequest(key) });
  if (kubelet && answer.status === 403) throw rejectedPassword(node.name);
  const { certificatesPem, keyPem } = splitCertificateAndKey(expectOk(answer, path));
  return { certPem: certificatesPem, keyPem: keyPem ?? exportPrivateKey(key) };
}

function rejectedPassword(name: string): KeelsonError {
  return new KeelsonError(
    "join/node-password-rejected",
    `node password rejected: another host joined as ${JSON.stringify(name)}, ` +
      `and its password is kept in Secret kube-system/${name}.node-password.k3s`,
    {
      hint:
        `choose another --node-name or use --with-node-id; if this host was reinstalled, release the name with ` +
        `"kubectl delete node ${name}" or "keelson node release ${name}"`,
      status: 403,
    },
  );
}

/** The keys of an earlier start, or new ones. */
async function loadKeys(layout: AgentLayout): Promise<Record<LeafName, KeyObject>> {
  const keys = await Promise.all(
    leafNames.map(async (leaf) => {
      const pem = await readFileIfExists(layout.key(leaf));
      return [leaf, (pem === undefined ? undefined : tryImport(pem)) ?? (await generateEcKey())] as const;
    }),
  );
  return Object.fromEntries(keys) as Record<LeafName, KeyObject>;
}

function tryImport(pem: string): KeyObject | undefined {
  try {
    const key = importPrivateKey(pem);
    // A key that a server of 2021 shared among all agents is not ours to keep; those were EC too, but so is every new one.
    return key.asymmetricKeyType === "ec" ? key : undefined;
  } catch {
    return undefined; // a damaged file: a new key replaces it
  }
}
