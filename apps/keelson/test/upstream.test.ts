import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "@keelson/conformance";
import { createKubeClient } from "@keelson/kube-client";
import { withDefaults } from "@keelson/service";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Server } from "../src/server/compose.ts";
import { apiserverFlags, egressSelectorConfig, type UpstreamFacts } from "../src/upstream/arguments.ts";
import { configOf } from "./given.ts";

const facts: UpstreamFacts = {
  tls: (file) => `/tls/${file}`,
  kubeconfig: (name) => `/cred/${name}.kubeconfig`,
  port: 6444,
  advertiseAddress: "192.0.2.1",
  etcd: { endpoints: ["unix://kine.sock"] },
  serviceCidrs: ["10.43.0.0/16"],
  clusterCidrs: ["10.42.0.0/16"],
  nodePortRange: "30000-32767",
  clusterDomain: "cluster.local",
  egressConfigFile: "/etc/egress.yaml",
};

describe("the flags of an upstream program", () => {
  it("puts kube-apiserver behind the gateway: loopback, front proxy, our datastore, no endpoints of its own", () => {
    expect(apiserverFlags(facts)).toMatchObject({
      "bind-address": "127.0.0.1",
      "requestheader-allowed-names": "system:auth-proxy",
      "etcd-servers": "unix://kine.sock",
      "endpoint-reconciler-type": "none",
      "egress-selector-config-file": "/etc/egress.yaml",
    });
    const egress = JSON.parse(egressSelectorConfig(facts, "https://127.0.0.1:6443"));
    expect(egress.egressSelections[0].connection).toMatchObject({
      proxyProtocol: "HTTPConnect",
      transport: { tcp: { url: "https://127.0.0.1:6443" } },
    });
  });
});

/**
 * Stands where kube-apiserver would: takes its flags, serves its port with its certificate, and reports what a request
 * through the gateway looks like. What it cannot show is kube-apiserver's own behaviour.
 */
const program = `#!/usr/bin/env node
const { readFileSync, writeFileSync } = require("node:fs");
const { createServer } = require("node:https");
const { connect } = require("node:net");
const flags = Object.fromEntries(process.argv.slice(2).map((flag) => /^--([^=]+)=(.*)$/s.exec(flag).slice(1)));
writeFileSync(flags["record-flags"], JSON.stringify(flags));
// Its first step is to dial the host in the URL of its datastore.
connect({ path: new URL(flags["etcd-servers"]).host }).on("error", (error) => { throw error; }).on("connect", function () { this.destroy(); });
const read = (name) => readFileSync(flags[name]);
createServer(
  { cert: read("tls-cert-file"), key: read("tls-private-key-file"), ca: [read("client-ca-file"), read("requestheader-client-ca-file")], requestCert: true },
  (req, res) => {
    const { user, group } = { user: req.headers["x-remote-user"], group: req.headers["x-remote-group"] };
    res.setHeader("content-type", "application/json");
    if (req.url === "/readyz") return res.end('"ok"');
    res.end(JSON.stringify({ user, group, proxy: req.socket.getPeerCertificate().subject.CN, path: req.url, metadata: {}, items: [] }));
  },
).listen(Number(flags["secure-port"]), flags["bind-address"]);
`;

describe("a server that runs an upstream kube-apiserver", () => {
  let directory: string;
  let server: Server;
  let url: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "keelson-upstream-"));
    const path = join(directory, "kube-apiserver.cjs");
    await writeFile(path, program, { mode: 0o755 });
    const [https, upstream] = await freePorts(2);
    url = `https://127.0.0.1:${https}`;
    const flags: Record<string, string> = {
      "data-dir": directory,
      "bind-address": "127.0.0.1",
      "https-listen-port": String(https),
      "datastore-listen-address": "",
      "disable-agent": "true",
      "kube-apiserver-path": path,
      "kube-apiserver-port": String(upstream),
      "kube-apiserver-arg": `record-flags=${join(directory, "flags.json")}`,
    };
    const config = await configOf(flags);
    server = new Server(config, withDefaults(), () => {});
    await server.start();
  }, 60_000);

  afterAll(async () => {
    await server.stop();
    await rm(directory, { recursive: true, force: true });
  });

  it("starts it with files that exist and sends it requests as the front proxy", async () => {
    const flags = JSON.parse(await readFile(join(directory, "flags.json"), "utf8")) as Record<string, string>;
    const files = Object.entries(flags).filter(([name]) => /-(file|certificate|key|authority)$/.test(name));
    expect(files.length).toBeGreaterThan(10);
    for (const [, file] of files) expect((await readFile(file)).length).toBeGreaterThan(0);
    const tls = (name: string): Promise<string> => readFile(join(directory, "server", "tls", name), "utf8");
    const client = createKubeClient({
      server: url,
      tls: { ca: await tls("server-ca.crt"), cert: await tls("client-admin.crt"), key: await tls("client-admin.key") },
    });
    expect(await client.raw("GET", "/api/v1/pods")).toMatchObject({
      user: "system:admin",
      proxy: "system:auth-proxy",
      path: "/api/v1/pods",
    });
    client.close();
  });
});
