import type { SecureContextOptions } from "node:tls";

/** TLS settings that follow the listener certificate and the client CA. */
export interface PublicPortTls {
  /** PEM: leaf, then the CA bundle. */
  cert: string;
  key: string;
  /** PEM bundle whose names are sent as acceptable client CAs: Go clients send no certificate without a match. */
  clientCa: string;
}

/** TLS 1.3, and of TLS 1.2 the six suites that K3s offers. */
const ciphers = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

/** The TLS context of the port; the fixed session context lets a client resume after a certificate swap. */
export function contextOptions({ cert, key, clientCa }: PublicPortTls): SecureContextOptions {
  return { cert, key, ca: clientCa, ciphers, minVersion: "TLSv1.2", sessionIdContext: "keelson" };
}
