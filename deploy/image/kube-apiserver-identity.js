// The certificates of an upstream kube-apiserver whose gateway and registration are ours: enrols in its place, writes them
// below the data directory, and renews them for as long as it runs (kube-apiserver reads changed files by itself):
//   node kube-apiserver-identity.js https://registration:6445 /run/keelson/token kube-api [more names and addresses]
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { ComponentIdentity } from "@keelson/registration";
import { createLogger, systemClock } from "@keelson/service";

const [url, tokenFile, ...names] = process.argv.slice(2);
if (url === undefined || tokenFile === undefined || names.length === 0) {
  console.error("usage: node kube-apiserver-identity.js <registration url> <token file> <name of the API server>...");
  process.exit(2);
}

const identity = new ComponentIdentity(
  {
    component: "kube-api",
    url,
    token: readFileSync(tokenFile, "utf8").trim(),
    name: hostname(),
    names: [...names, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1"],
    directory: join(process.env.K3S_DATA_DIR ?? "/var/lib/keelson", "kube-api"),
  },
  systemClock,
  createLogger({ name: "kube-apiserver-identity", level: "info", format: process.env.KEELSON_LOG_FORMAT ?? "plain" }),
);
await identity.start();
// Its own timer lets a process end.
setInterval(() => {}, 3_600_000);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
