import { createHash, X509Certificate } from "node:crypto";

const certificateBlock = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/**
 * The CA pin of a token: lower-case hex SHA-256 over the exact bytes of `/cacerts` when that holds one certificate. Of a
 * bundle it is the SHA-256 of the root's DER, so that an intermediate can be replaced without new tokens; when no chain
 * from the first certificate to a self-issued one verifies, the raw bytes again. Source: K3s clientaccess.
 */
export function hashCaBundle(pem: string | Uint8Array): string {
  const bytes = typeof pem === "string" ? Buffer.from(pem) : Buffer.from(pem);
  const blocks = bytes.toString("latin1").match(certificateBlock) ?? [];
  const root = blocks.length > 1 ? rootOf(blocks) : undefined;
  return createHash("sha256")
    .update(root?.raw ?? bytes)
    .digest("hex");
}

function rootOf(blocks: readonly string[]): X509Certificate | undefined {
  let certificates: X509Certificate[];
  try {
    certificates = blocks.map((block) => new X509Certificate(block));
  } catch {
    return undefined; // not certificates after all: the raw bytes are the pin
  }
  const [first, ...rest] = certificates;
  let current = first!;
  const unused = new Set(rest);
  for (;;) {
    const issuer = [...unused].find((candidate) => current.checkIssued(candidate) && verifies(current, candidate));
    if (issuer === undefined) return undefined;
    if (issuer.checkIssued(issuer)) return issuer;
    unused.delete(issuer);
    current = issuer;
  }
}

function verifies(certificate: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return certificate.verify(issuer.publicKey);
  } catch {
    return false; // a key type that cannot have made this signature
  }
}
