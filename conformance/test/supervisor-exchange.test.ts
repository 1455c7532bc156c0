import { mkdir, mkdtemp, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { certificateNames, readCertificate, readPem } from "@keelson/pki";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { joinReplayAgent } from "../../e2e/src/replay-agent.ts";
import { type JoinServer, startJoinServer } from "../src/join-server.ts";

type Header = [name: string, value: string];

/** A request of the recorded join. */
interface Recorded {
  kind: "supervisor";
  method: string;
  path: string;
  tls: { clientCertCN: string | null };
  requestHeaders: Header[];
  status: number;
  responseHeaders: Header[];
  responseBody: { text: string; length: number } | null;
}

/** A request made by hand against the recorded server. */
interface Case {
  kind: "case" | "error-case";
  case: string;
  scheme: "http" | "https";
  method: string;
  path: string;
  basicAuth: string | null;
  clientCert: string | null;
  requestHeaders: Record<string, string>;
  status: number;
  statusLine: string;
  body: string;
}

const vectors = join(import.meta.dirname, "../vectors");
const lines = (await readFile(join(vectors, "supervisor-exchange.jsonl"), "utf8")).split("\n").filter(Boolean);
const exchange = lines.map((line) => JSON.parse(line) as { kind: string });
const recordedJoin = exchange.filter((line): line is Recorded => line.kind === "supervisor");
const cases = exchange.filter((line): line is Case => line.kind.endsWith("case"));

/** Where newest K3s answers otherwise than the recorded v1.21, and so do we. */
const newer: Record<string, { status: number; because: string }> = {
  "config with node client cert, no basic auth": { status: 200, because: "node certificates open agent routes" },
  "server-bootstrap with server token (route only exists with embedded etcd)": {
    status: 200,
    because: "the route exists on every server",
  },
  "db/info with server token (embedded etcd only)": {
    status: 400,
    because: "the route exists on every server and says that etcd is disabled",
  },
  "connect: node client cert, no upgrade": { status: 400, because: "a bad upgrade is a bad request" },
  "connect: node client cert, wrong websocket version": { status: 400, because: "a bad upgrade is a bad request" },
  "connect: node client cert, no key": { status: 400, because: "a bad upgrade is a bad request" },
  "connect: POST with upgrade": { status: 400, because: "a bad upgrade is a bad request" },
};

/** Refusals whose words are ours: stock's come from kube-apiserver or Go. */
const ownWords = new Set([
  "invalid node name (slash)",
  "invalid node name (underscore)",
  "invalid node IP: serving-kubelet.crt",
  "node IPs with a space after the comma",
]);

let directory: string;
let server: JoinServer;
const clientCerts: Record<string, { cert: string; key: string }> = {};

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "keelson-exchange-"));
  const charts = join(directory, "server/static/charts");
  await mkdir(charts, { recursive: true });
  for (const name of ["traefik-9.18.2.tgz", "traefik-crd-9.18.2.tgz"]) await writeFile(join(charts, name), name);
  await utimes(charts, new Date(), new Date());
  server = await startJoinServer({
    dataDir: directory,
    registration: { token: "lab-server-secret", agentToken: "lab-agent-secret" },
  });
  const agent = { server: server.url, token: "lab-agent-secret", nodeIps: ["192.0.2.2"], era: "v1.21" as const };
  const joined = await joinReplayAgent({
    ...agent,
    nodeName: "agent1",
    nodePassword: "8d298443ced32995c43dfb39b1c3e05a",
  });
  await joinReplayAgent({ ...agent, nodeName: "vec-node-1", nodePassword: "0123456789abcdef0123456789abcdef" });
  const file = (name: string): string => joined.files[name] ?? "";
  clientCerts["system:admin (system:masters)"] = { cert: server.admin.cert, key: server.admin.key };
  clientCerts["system:node:agent1 (system:nodes)"] = {
    cert: file("client-kubelet.crt"),
    key: file("client-kubelet.key"),
  };
  clientCerts["system:kube-proxy"] = { cert: file("client-kube-proxy.crt"), key: file("client-kube-proxy.key") };
});

afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

describe("the recorded join of a v1.21 agent", () => {
  test.each(recordedJoin.map((step, index) => ({ step, name: `${index + 1}. ${step.method} ${step.path}` })))(
    "$name",
    async ({ step }) => {
      const client =
        step.tls.clientCertCN === null ? undefined : clientCerts[`${step.tls.clientCertCN} (system:nodes)`];
      const answer = await send({ ...step, headers: step.requestHeaders.filter(([name]) => name !== "Host"), client });
      expect(answer.status).toBe(step.status);
      for (const name of ["Content-Type", "Accept-Ranges", "Upgrade", "Sec-WebSocket-Accept"]) {
        const recorded = step.responseHeaders.find(([key]) => key === name)?.[1];
        if (recorded !== undefined) expect(answer.headers[name.toLowerCase()], name).toBe(recorded);
      }
      if (step.responseBody !== null) expectSameShape(answer.body, step.responseBody.text);
    },
  );
});

describe("the recorded cases", () => {
  test.each(cases.map((recorded) => ({ recorded, name: recorded.case })))("$name", async ({ recorded }) => {
    const authorization: Header[] =
      recorded.basicAuth === null
        ? []
        : [["Authorization", `Basic ${Buffer.from(recorded.basicAuth).toString("base64")}`]];
    const given = Object.entries(recorded.requestHeaders).map(
      ([name, value]): Header => [name.replace(/;$/, ""), value],
    );
    const client = recorded.clientCert === null ? undefined : clientCerts[recorded.clientCert];
    const answer = await send({ ...recorded, headers: [...authorization, ...given], client });
    const difference = newer[recorded.case];
    expect(answer.status).toBe(difference?.status ?? recorded.status);
    if (difference !== undefined) return;

    const location = /^Location: (.*)$/m.exec(recorded.statusLine)?.[1];
    if (location !== undefined) expect(answer.headers.location).toBe(location);
    if (recorded.status < 400) {
      expectSameShape(answer.body, recorded.body);
    } else if (recorded.scheme === "http" || recorded.path.startsWith("/static/")) {
      expect(answer.body).toBe(recorded.body);
    } else {
      const status = JSON.parse(answer.body) as { kind: string; code: number; message: string };
      expect(status).toMatchObject({ kind: "Status", status: "Failure", code: recorded.status });
      const text = recorded.body.startsWith("{")
        ? (JSON.parse(recorded.body) as { message?: string }).message
        : recorded.body;
      if (text !== "" && text !== undefined && !ownWords.has(recorded.case)) expect(status.message).toBe(text);
    }
  });
});

describe("the recorded credentials on each route", async () => {
  interface Row {
    case: string;
    authorization: string | null;
    statuses: Record<string, { status: number }>;
  }
  const { http } = JSON.parse(await readFile(join(vectors, "token.json"), "utf8")) as { http: Row[] };
  /** v1.21 without embedded etcd has neither route: everybody fell through to kube-apiserver's 401. */
  const absentThen = new Set(["/v1-k3s/server-bootstrap", "/db/info"]);
  const rows = http.flatMap((row) =>
    Object.entries(row.statuses)
      .filter(([path]) => !absentThen.has(path))
      .map(([path, { status }]) => ({ name: row.case, path, authorization: row.authorization, status })),
  );
  test.each(rows)("$path with $name: $status", async ({ path, authorization, status }) => {
    const value = authorization === longToken ? `Basic ${Buffer.from(longPassword).toString("base64")}` : authorization;
    const headers: Header[] = value === null ? [] : [["Authorization", value]];
    expect((await send({ method: "GET", path, headers })).status).toBe(status);
  });
});

/** How the recording writes down the longest credential. */
const longToken = "Basic base64('node:' + 'a'*4096)";
const longPassword = `node:${"a".repeat(4_096)}`;

interface Sent {
  scheme?: "http" | "https";
  method: string;
  path: string;
  headers: Header[];
  client?: { cert: string; key: string } | undefined;
}

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

function send({ scheme = "https", method, path, headers, client }: Sent): Promise<Answer> {
  const { port, host } = new URL(server.url);
  const target = {
    host: "127.0.0.1",
    port,
    method,
    path,
    headers: [["Host", host], ...headers, ...(hasConnection(headers) ? [] : [["Connection", "close"]])].flat(),
    setHost: false,
    agent: false,
  };
  return new Promise((resolve, reject) => {
    const req = scheme === "http" ? httpRequest(target) : httpsRequest({ ...target, ca: server.admin.ca, ...client });
    req.once("error", reject);
    req.once("upgrade", (res, socket) => {
      socket.destroy();
      resolve({ status: res.statusCode ?? 0, headers: res.headers, body: "" });
    });
    req.once("response", (res) => {
      let body = "";
      res.setEncoding("utf8");
      res.on("data", (chunk: string) => {
        body += chunk;
      });
      res.once("error", reject);
      res.once("end", () => resolve({ status: res.statusCode ?? 0, headers: res.headers, body }));
    });
    req.end();
  });
}

function hasConnection(headers: readonly Header[]): boolean {
  return headers.some(([name]) => name.toLowerCase() === "connection");
}

/** Certificates by structure, JSON by the fields that both sides know, anything else by its text. */
function expectSameShape(ours: string, theirs: string): void {
  if (theirs.startsWith("-----BEGIN CERTIFICATE-----")) {
    expect(blocks(ours)).toEqual(blocks(theirs));
  } else if (theirs.startsWith("{")) {
    const [mine, recorded] = [JSON.parse(ours), JSON.parse(theirs)] as Record<string, unknown>[];
    for (const field of agentFields) expect(typeof mine![field], field).toBe(typeof recorded![field]);
  } else if (theirs !== "") {
    expect(ours).toBe(theirs);
  }
}

/** What a v1.21 agent reads of `/v1-k3s/config`. */
const agentFields = [
  "HTTPSPort",
  "SupervisorPort",
  "ClusterIPRange",
  "ClusterIPRanges",
  "ServiceIPRange",
  "ServiceIPRanges",
  "ServiceNodePortRange",
  "ClusterDNS",
  "ClusterDNSs",
  "ClusterDomain",
  "FlannelBackend",
  "IPSECPSK",
  "DisableCCM",
  "DisableNPC",
  "DisableKubeProxy",
];

/** PEM blocks in order: for a certificate who, for what and under which names; a private key as such. */
function blocks(pem: string): unknown[] {
  const certificates = readPem(pem).filter(({ label }) => label === "CERTIFICATE");
  const keys = pem.match(/-----BEGIN EC PRIVATE KEY-----|^<redacted>$/gm) ?? [];
  return [
    ...certificates.map(({ der }) => {
      const { commonName, organizations, isCa, extendedKeyUsage, keyUsage, ...names } = readCertificate(der);
      const name = commonName.replace(/@\d+$/, "");
      return { name, organizations, isCa, extendedKeyUsage, keyUsage, names: certificateNames(names) };
    }),
    ...keys.map(() => "private key"),
  ];
}
