// Says how a server of the StatefulSet begins: prints the options for `keelson server`, nothing for one that has data.
//   node etcd-origin.js <name of a ConfigMap> https://keelson:6443
// A cluster is founded once, by the server that first writes its name into that ConfigMap. All others join, the founder too
// when it has lost its volume: a second cluster beside the first would split it.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";

const [configMap, registrationAddress] = process.argv.slice(2);
const { POD_NAME: self, KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env;
if (configMap === undefined || registrationAddress === undefined || !self || !host) {
  console.error(
    "usage, in a pod with a service account: POD_NAME=<name> node etcd-origin.js <ConfigMap> <url of the servers>",
  );
  process.exit(2);
}
const account = process.env.SERVICE_ACCOUNT_DIR ?? "/var/run/secrets/kubernetes.io/serviceaccount";
const retryMs = 2_000;
const etcd = join(process.env.K3S_DATA_DIR ?? "/var/lib/keelson", "server/db/etcd");
// Written before the claim, so that a founder that ends before etcd has data founds again. A founder that lost its volume has
// lost this as well, and joins.
const founding = join(etcd, "founding");
const joins = `--server ${registrationAddress}`;

function file(name) {
  return readFileSync(join(account, name), "utf8").trim();
}

/** One call of the management cluster's API; answers status and object. */
function call(method, object) {
  const path = `/api/v1/namespaces/${file("namespace")}/configmaps/${configMap}`;
  const headers = { authorization: `Bearer ${file("token")}`, "content-type": "application/json" };
  return new Promise((resolve, reject) => {
    const sent = request({ host, port, path, method, headers, ca: file("ca.crt"), timeout: 10_000 }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ status: response.statusCode, text: Buffer.concat(chunks).toString() }));
      response.on("error", reject);
    });
    sent.on("timeout", () => sent.destroy(new Error("no answer within 10 s")));
    sent.on("error", reject);
    sent.end(object === undefined ? undefined : JSON.stringify(object));
  });
}

/** Whether this server is the one that founds the cluster: the one whose name the ConfigMap holds or first takes. */
async function isFounder() {
  const found = await call("GET");
  if (found.status !== 200) throw new Error(`GET of ConfigMap ${configMap}: ${found.status} ${found.text}`);
  const object = JSON.parse(found.text);
  const name = object.data?.founder;
  if (name !== undefined) {
    if (name !== self) return false;
    if (existsSync(founding)) return true;
    console.error(
      `this server founded the cluster and has no data any more: it joins the others. When none of them has any either, ` +
        `restore a snapshot, or begin anew: take "founder" out of ConfigMap ${configMap}`,
    );
    return false;
  }
  mkdirSync(etcd, { recursive: true, mode: 0o700 });
  writeFileSync(founding, "");
  // At its resourceVersion: of several servers at once only one gets through.
  const claimed = await call("PUT", { ...object, data: { ...object.data, founder: self } });
  if (claimed.status !== 200) throw new Error(`PUT of ConfigMap ${configMap}: ${claimed.status} ${claimed.text}`);
  return true;
}

function isMember() {
  const wal = join(etcd, "member/wal");
  return existsSync(wal) && readdirSync(wal).length > 0;
}

if (existsSync(join(etcd, "tombstone"))) {
  // Removed from the cluster: it comes back as a new member, and founds nothing.
  console.log(joins);
} else if (!isMember()) {
  for (;;) {
    try {
      const founds = await isFounder();
      if (!founds) rmSync(founding, { force: true });
      console.log(founds ? "--cluster-init" : joins);
      break;
    } catch (error) {
      console.error(`cannot learn yet whether the cluster was founded: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  }
}
