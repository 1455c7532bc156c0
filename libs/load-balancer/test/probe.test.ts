import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createHttpsProbe } from "../src/index.ts";

/** A certificate that names no address at all, and its key. */
async function certificate(): Promise<{ cert: string; key: string }> {
  const folder = await mkdtemp(join(tmpdir(), "keelson-probe-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const [cert, key] = [join(folder, "tls.crt"), join(folder, "tls.key")];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  execFileSync("openssl", ["req", "-x509", ...curve, "-subj", "/CN=cluster", "-keyout", key, "-out", cert], {
    stdio: "ignore",
  });
  return { cert: await readFile(cert, "utf8"), key: await readFile(key, "utf8") };
}

test("a server is asked under any address that leads to it, and must have the cluster's certificate", async () => {
  const [own, foreign] = [await certificate(), await certificate()];
  const server = createServer(own, (_request, response) => response.end("pong"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  let ca = own.cert;
  const probe = createHttpsProbe({ ca: () => ca });
  onTestFinished(() => {
    probe.close();
    server.closeAllConnections();
    server.close();
  });
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  await probe.check(address, AbortSignal.timeout(5_000));
  ca = foreign.cert;
  server.closeAllConnections();
  await expect(probe.check(address, AbortSignal.timeout(5_000))).rejects.toThrow(
    "its certificate is not of this cluster's CA",
  );
});
