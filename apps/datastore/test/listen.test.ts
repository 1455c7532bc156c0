import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { connect, isIP } from "node:net";
import { join, relative } from "node:path";
import { connect as connectTls } from "node:tls";
import { createEtcdClient } from "@keelson/etcd-client";
import { createCaCertificate, exportPrivateKey, generateEcKey } from "@keelson/pki";
import { resolveOptions, silentLogger } from "@keelson/service";
import { expect, it, onTestFinished } from "vitest";
import { datastoreConfig, datastoreOptions } from "../src/index.ts";
import { GrpcServer } from "../src/server/grpc-server.ts";
import { clientUrl, parseListenUrl } from "../src/server/listen-url.ts";
import { Listener } from "../src/server/listener.ts";
import { runDatastore, temporaryFolder } from "./running-datastore.ts";

const noListener = { onData() {}, onEnd() {}, onClosed() {} };

it("ends HTTP/1 requests that never become whole, without the client's help", async () => {
  const timeouts = { headersMs: 100, requestMs: 200, checkMs: 20 };
  const noGrpc = new GrpcServer([], silentLogger);
  const listener = new Listener(
    { url: "http://127.0.0.1:0" },
    noGrpc,
    (exchange) => exchange.listen(noListener),
    silentLogger,
    timeouts,
  );
  const url = await listener.start();
  onTestFinished(() => listener.stop());
  const heads = ["GET / HTTP/1.1\r\nHost: a\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"];
  const answers = heads.map(async (head) => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    socket.write(head);
    let answer = "";
    for await (const chunk of socket) answer += chunk;
    return answer.split("\r\n")[0];
  });
  const timedOut = "HTTP/1.1 408 Request Timeout";
  expect(await Promise.all(answers)).toEqual([timedOut, timedOut]);
});

it("serves a renewed certificate from the next connection on, and the former while certificate and key do not fit", async () => {
  const folder = await temporaryFolder();
  const [certFile, keyFile] = [join(folder, "server.crt"), join(folder, "server.key")];
  const issue = async () => {
    const key = await generateEcKey();
    return { cert: createCaCertificate("server", key, Date.now()), key: exportPrivateKey(key) };
  };
  const first = await issue();
  await writeFile(certFile, first.cert);
  await writeFile(keyFile, first.key);
  const flags = { "server-cert-file": certFile, "server-key-file": keyFile, "listen-address": "https://127.0.0.1:0" };
  const values = new Map(Object.entries(flags).map(([name, value]) => [name, [value]]));
  const { listen } = datastoreConfig(resolveOptions(datastoreOptions, [{ from: "flags", values }]));
  const { url } = await runDatastore({ listen });

  const served = async (): Promise<string> => {
    const socket = connectTls({ port: Number(new URL(url).port), host: "127.0.0.1", rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
  };
  const fingerprint = (pem: string): string => new X509Certificate(pem).fingerprint256;
  expect(await served()).toBe(fingerprint(first.cert));
  const second = await issue();
  await writeFile(certFile, second.cert);
  expect(await served()).toBe(fingerprint(first.cert));
  await writeFile(keyFile, second.key);
  expect(await served()).toBe(fingerprint(second.cert));
});

it("parses what can be listened on", () => {
  expect(parseListenUrl("http://:2380")).toEqual({ secure: false, host: undefined, port: 2380 });
  expect(parseListenUrl("https://[::1]:0")).toEqual({ secure: true, host: "::1", port: 0 });
  expect(parseListenUrl("http://db.example")).toEqual({ secure: false, host: "db.example", port: 2379 });
  expect(parseListenUrl("unix://kine.sock")).toEqual({ path: "kine.sock" });
  for (const wrong of ["http://h:70000", "http://h:x", "ftp://h", "unix://", "http://a b:c:1", "2379"]) {
    expect(() => parseListenUrl(wrong), wrong).toThrow("cannot listen on");
  }
});

it("listens on all interfaces, and tells clients an address that they can connect to", async () => {
  const { url } = await runDatastore({ listen: [{ url: "http://:0" }] });
  const { port } = new URL(url);
  expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
  const answer = await fetch(`http://127.0.0.1:${port}/v3/cluster/member/list`, { method: "POST", body: "{}" });
  const { members } = (await answer.json()) as { members: { clientURLs: string[] }[] };
  expect(members[0]!.clientURLs).toEqual([clientUrl(url)]);
  const { hostname } = new URL(clientUrl("http://0.0.0.0:1"));
  expect(["0.0.0.0", "[::]"]).not.toContain(hostname);
  expect(isIP(hostname) || hostname).toBeTruthy();
  expect(clientUrl("https://10.0.0.1:1")).toBe("https://10.0.0.1:1");
});

it("listens on a relative socket path, replaces a socket that is left, and spares any other file", async () => {
  const folder = await temporaryFolder();
  const socket = join(folder, "kine.sock");
  const listen = [{ url: `unix://${relative(process.cwd(), socket)}` }];
  await runDatastore({ listen });
  const second = await runDatastore({ listen });
  const client = createEtcdClient({ endpoints: [`unix://${socket}`] });
  await client.put({ key: Buffer.from("a"), value: Buffer.from("1") });
  client.close();
  await second.stop();
  const file = join(folder, "precious.txt");
  await writeFile(file, "content");
  await expect(runDatastore({ listen: [{ url: `unix://${file}` }] })).rejects.toThrow("something that is no socket");
  expect(await readFile(file, "utf8")).toBe("content");
});
