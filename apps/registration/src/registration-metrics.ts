import { type AuthorityName, authorityFiles } from "@keelson/pki";
import { Gauge, type Registry } from "@keelson/service";
import type { ServerPki } from "./certificates/server-pki.ts";

/** What operators see of registration. */
export function registerMetrics(registry: Registry, pki: ServerPki, pendingHashes: () => number): void {
  const registers = [registry];
  new Gauge({
    name: "keelson_registration_password_hashes_pending",
    help: "Node-password hashes that run or wait",
    registers,
    collect() {
      this.set(pendingHashes());
    },
  });
  new Gauge({
    name: "keelson_certificate_expiry_seconds",
    help: "When the server's certificates and its certificate authorities expire, in seconds since the epoch",
    labelNames: ["file", "kind"],
    registers,
    async collect() {
      this.reset();
      if (!pki.isLoaded) return;
      for (const [name, { file }] of Object.entries(authorityFiles)) {
        const { notAfterMs } = pki.authority(name as AuthorityName).certificate;
        this.set({ file, kind: "authority" }, notAfterMs / 1_000);
      }
      for (const { certificate, notAfterMs } of await pki.leafStatus()) {
        this.set({ file: certificate.file, kind: "leaf" }, notAfterMs / 1_000);
      }
    },
  });
}
