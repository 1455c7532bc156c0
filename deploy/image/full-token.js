// Writes the full server token, `K10<hash of the CA>::server:<secret>`, for parts that enrol at registration:
//   node full-token.js https://registration:6445 /run/keelson/token
// For a local cluster on a network of its own, where the CA was made a moment ago and nobody else answers. Elsewhere the
// token is copied from registration's server/token, so that the pin comes from the CA's owner.
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { request } from "node:https";

const [url, path] = process.argv.slice(2);
const secret = process.env.K3S_TOKEN;
if (url === undefined || path === undefined || !secret) {
  console.error("usage: K3S_TOKEN=<secret> node full-token.js <registration url> <file>");
  process.exit(2);
}

const ca = await new Promise((resolve, reject) => {
  request(new URL("/cacerts", url), { rejectUnauthorized: false, timeout: 5_000 }, (response) => {
    const chunks = [];
    response.on("data", (chunk) => chunks.push(chunk));
    response.on("end", () => resolve(Buffer.concat(chunks)));
    response.on("error", reject);
  })
    .on("error", reject)
    .end();
});
const password = secret.includes("::server:") ? secret.slice(secret.indexOf("::server:") + 9) : secret;
writeFileSync(path, `K10${createHash("sha256").update(ca).digest("hex")}::server:${password}\n`, { mode: 0o644 }); // its volume is mounted into those parts alone, which are not root
