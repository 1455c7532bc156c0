import type { X509Certificate } from "node:crypto";
import { type CertificateInfo, isIssuedBy, isNamedIssuer, readBundle, readCertificate } from "./certificate.ts";

export type CertificateRefusal =
  | "unreadable"
  | "not-yet-valid"
  | "expired"
  | "wrong-purpose"
  | "unknown-extension"
  | "unknown-authority";

export type VerifiedCertificate =
  | { ok: true; certificate: CertificateInfo }
  | { ok: false; reason: CertificateRefusal };

/**
 * Longest path from a leaf to a trusted certificate, most certificates that are looked at, and most signatures that are
 * checked: certificates that all sign each other make paths without number, for anybody who connects.
 */
const limits = { depth: 4, presented: 8, signatures: 24 };

/**
 * Verifies a presented chain (DER, leaf first) against a CA bundle as Go's x509 does: every certificate of the bundle is
 * trusted; each link must be valid now, signed, and allowed to sign at its place; the leaf and every CA below the trusted one
 * must allow the purpose (or name none). Never throws.
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
  if (!allows(leaf, purpose)) return { ok: false, reason: "wrong-purpose" };
  if (leaf.unknownCritical) return { ok: false, reason: "unknown-extension" };
  const usable = intermediates.filter((issuer) => maySign(issuer, nowMs) && allows(issuer, purpose));
  const trusted = bundle.filter((issuer) => maySign(issuer, nowMs));
  return new PathSearch(usable, trusted).reachesTrust(leaf)
    ? { ok: true, certificate: leaf }
    : { ok: false, reason: "unknown-authority" };
}

/** What a peer presented, leaf first (DER), as far as Node put it in order; no more than anybody's chain is long. */
export function presentedChain(leaf: X509Certificate): Uint8Array[] {
  const chain: Uint8Array[] = [];
  let current: X509Certificate | undefined = leaf;
  while (current !== undefined && chain.length < limits.presented) {
    chain.push(current.raw);
    current = current.issuerCertificate === current ? undefined : current.issuerCertificate;
  }
  return chain;
}

/** Reads a trust bundle once, for many verifications. Throws a DerError when it holds something else. */
export function readTrustBundle(pem: string): readonly CertificateInfo[] {
  return readBundle(pem);
}

function allows({ extendedKeyUsage }: CertificateInfo, purpose: "client" | "server"): boolean {
  return extendedKeyUsage.length === 0 || extendedKeyUsage.includes(purpose) || extendedKeyUsage.includes("any");
}

function maySign(issuer: CertificateInfo, nowMs: number): boolean {
  const { isCa, keyUsage, notBeforeMs, notAfterMs, unknownCritical } = issuer;
  const signs = isCa && (keyUsage.length === 0 || keyUsage.includes("keyCertSign"));
  return signs && !unknownCritical && notBeforeMs <= nowMs && notAfterMs >= nowMs;
}

/** Looks for a path from a leaf over presented CAs to a trusted one. */
class PathSearch {
  readonly #trusted: readonly CertificateInfo[];
  readonly #intermediates: readonly CertificateInfo[];
  #signaturesLeft = limits.signatures;

  constructor(intermediates: readonly CertificateInfo[], trusted: readonly CertificateInfo[]) {
    this.#intermediates = intermediates;
    this.#trusted = trusted;
  }

  /** `below`: the CAs between `certificate` and the leaf, with it. */
  reachesTrust(certificate: CertificateInfo, below: readonly CertificateInfo[] = []): boolean {
    const signs = (issuer: CertificateInfo): boolean => this.#signs(issuer, certificate, below.length);
    if (this.#trusted.some(signs)) return true;
    if (below.length === limits.depth) return false;
    return this.#intermediates.some(
      (issuer) => !below.includes(issuer) && signs(issuer) && this.reachesTrust(issuer, [...below, issuer]),
    );
  }

  #signs(issuer: CertificateInfo, certificate: CertificateInfo, casBelow: number): boolean {
    if (issuer.pathLength !== undefined && issuer.pathLength < casBelow) return false;
    if (!isNamedIssuer(certificate, issuer) || this.#signaturesLeft === 0) return false;
    this.#signaturesLeft--;
    return isIssuedBy(certificate, issuer);
  }
}
