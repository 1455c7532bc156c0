#!/usr/bin/env node
// Takes the flags of an upstream kube-apiserver and serves what they say, by our API: every file that a flag names must be
// there and fit. What it cannot show is kube-apiserver's own behaviour.
import { readFileSync } from "node:fs";

const { createKubeApi } = await import("/app/apps/kube-api/src/index.ts");
const flags = Object.fromEntries(process.argv.slice(2).map((flag) => /^--([^=]+)=(.*)$/s.exec(flag).slice(1)));
const read = (flag) => readFileSync(flags[flag], "utf8");
const [clientCaPem, requestHeaderCaPem] = [read("client-ca-file"), read("requestheader-client-ca-file")];
if (flags["requestheader-allowed-names"] !== "system:auth-proxy") throw new Error("the gateway would not be let in");

const api = createKubeApi({
  etcd: {
    endpoints: flags["etcd-servers"].split(","),
    tls: { ca: read("etcd-cafile"), cert: read("etcd-certfile"), key: read("etcd-keyfile") },
  },
  listen: [
    {
      host: "0.0.0.0",
      port: Number(flags["secure-port"]),
      tls: { cert: read("tls-cert-file"), key: read("tls-private-key-file"), ca: clientCaPem + requestHeaderCaPem },
    },
  ],
  clientCaPem,
  requestHeaderCaPem,
  advertise: { address: flags["advertise-address"], port: Number(flags["secure-port"]) },
  serviceCidr: flags["service-cluster-ip-range"],
  serviceAccount: {
    privateKeyPem: read("service-account-signing-key-file"),
    issuer: flags["service-account-issuer"],
  },
  kubelet: {
    ca: read("kubelet-certificate-authority"),
    cert: read("kubelet-client-certificate"),
    key: read("kubelet-client-key"),
  },
});
await api.start();
process.on("SIGTERM", () => process.exit(0));
