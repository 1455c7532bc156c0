// Prints the administrator's kubeconfig, for a part that holds the cluster's certificates (registration, or a server):
//   docker compose exec -T registration node /app/deploy/image/kubeconfig.js [https://127.0.0.1:6443] > kubeconfig
import { readFileSync } from "node:fs";

const tls = `${process.env.K3S_DATA_DIR ?? "/var/lib/keelson"}/server/tls`;
const embedded = (file) => readFileSync(`${tls}/${file}`).toString("base64");
const server = process.argv[2] ?? "https://127.0.0.1:6443";

process.stdout.write(`apiVersion: v1
kind: Config
clusters:
  - name: keelson
    cluster:
      server: ${server}
      certificate-authority-data: ${embedded("server-ca.crt")}
users:
  - name: admin
    user:
      client-certificate-data: ${embedded("client-admin.crt")}
      client-key-data: ${embedded("client-admin.key")}
contexts:
  - name: keelson
    context: { cluster: keelson, user: admin }
current-context: keelson
`);
