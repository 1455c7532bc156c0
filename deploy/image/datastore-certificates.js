// Makes the certificates between the datastore and the parts that use it, once:
//   node datastore-certificates.js /run/keelson-datastore datastore [more names of the datastore]
// writes ca.crt, server.crt, server.key, client.crt and client.key. They cannot come from the cluster's CAs, which lie in
// that very datastore. Where certificates are issued by other means (cert-manager), this is not needed.
import { createPublicKey } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Authority, createCaCertificate, exportPrivateKey, generateEcKey } from "@keelson/pki";

const [directory, ...names] = process.argv.slice(2);
if (directory === undefined || names.length === 0) {
  console.error("usage: node datastore-certificates.js <directory> <name of the datastore>...");
  process.exit(2);
}

if (!existsSync(join(directory, "ca.crt"))) {
  const nowMs = Date.now();
  const caKey = await generateEcKey();
  const authority = new Authority(createCaCertificate("keelson-datastore", caKey, nowMs), caKey);
  await write("server", { commonName: "datastore", purposes: ["server"], names: [...names, "localhost", "127.0.0.1"] });
  await write("client", { commonName: "datastore-client", purposes: ["client"] });
  // Last: it says that all are there. The key of the CA is not kept.
  writeFileSync(join(directory, "ca.crt"), authority.bundlePem);

  async function write(name, profile) {
    const key = await generateEcKey();
    writeFileSync(join(directory, `${name}.crt`), authority.issue(profile, createPublicKey(key), nowMs));
    // Its volume is mounted into those parts alone, which are not root.
    writeFileSync(join(directory, `${name}.key`), exportPrivateKey(key), { mode: 0o644 });
  }
}
