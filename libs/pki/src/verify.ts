import { type CertificateInfo, isIssuedBy, readBundle, readCertificate } from "./certificate.ts";

export type CertificateRefusal = "unreadable" | "not-yet-valid" | "expired" | "wrong-purpose" | "unknown-authority";

export type VerifiedCertificate =
  | { ok: true; certificate: CertificateInfo }
  | { ok: false; reason: CertificateRefusal };

/** Longest path from a leaf to a trusted certificate, and most certificates that are looked at. */
const limits = { depth: 4, presented: 8 };

/**
 * Verifies a presented chain (DER, leaf first) against a CA bundle as Go's x509 does: every certificate of the bundle is
 * trusted, each link must be valid now and signed, the leaf must allow the purpose (or name none). Never throws.
 */
export function verifyChain(
  presented: readonly Uint8Array[],
  bundle: readonly CertificateInfo[],
  purpose: "client" | "server",
  nowMs: number,
): VerifiedCertificate {
  let chain: CertificateInfo[];
  try {
    chain = presented.slice(0, limits.presented).map((der) => readCertificate(der));
  } catch {
    return { ok: false, reason: "unreadable" };
  }
  const [leaf, ...intermediates] = chain;
  if (leaf === undefined) return { ok: false, reason: "unreadable" };
  if (leaf.notBeforeMs > nowMs) return { ok: false, reason: "not-yet-valid" };
  if (leaf.notAfterMs < nowMs) return { ok: false, reason: "expired" };
  if (leaf.extendedKeyUsage.length > 0 && !leaf.extendedKeyUsage.includes(purpose)) {
    return { ok: false, reason: "wrong-purpose" };
  }
  return reachesTrust(leaf, intermediates, bundle, nowMs, limits.depth)
    ? { ok: true, certificate: leaf }
    : { ok: false, reason: "unknown-authority" };
}

/** Reads a trust bundle once, for many verifications. Throws a DerError when it holds something else. */
export function readTrustBundle(pem: string): readonly CertificateInfo[] {
  return readBundle(pem);
}

function reachesTrust(
  certificate: CertificateInfo,
  intermediates: readonly CertificateInfo[],
  bundle: readonly CertificateInfo[],
  nowMs: number,
  depth: number,
): boolean {
  const canSign = (issuer: CertificateInfo): boolean =>
    issuer.isCa && issuer.notBeforeMs <= nowMs && issuer.notAfterMs >= nowMs && isIssuedBy(certificate, issuer);
  if (bundle.some(canSign)) return true;
  if (depth === 0) return false;
  return intermediates.some(
    (issuer) =>
      canSign(issuer) &&
      reachesTrust(
        issuer,
        intermediates.filter((other) => other !== issuer),
        bundle,
        nowMs,
        depth - 1,
      ),
  );
}
