/**
 * A kubelet as far as `kubectl logs` needs one: HTTPS with the node's serving certificate on 127.0.0.1:10250, where only
 * the agent of its host reaches it. Arguments: certificate, key and client CA file.
 */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const [cert = "", key = "", clientCa = ""] = process.argv.slice(2).map((path) => readFileSync(path, "utf8"));
const server = createServer({ cert, key, ca: clientCa, requestCert: true, rejectUnauthorized: true }, (req, res) => {
  const url = new URL(req.url ?? "/", "https://kubelet");
  if (!url.pathname.startsWith("/containerLogs/")) return void res.writeHead(404).end();
  res.writeHead(200, { "content-type": "text/plain" });
  res.write(`hello from ${url.pathname}\n`);
  if (url.searchParams.get("follow") !== "true") return void res.end();
  const timer = setInterval(() => res.write("still here\n"), 100);
  res.on("close", () => clearInterval(timer));
});
server.listen(10_250, "127.0.0.1", () => console.log("kubelet listens"));
