import type { CertificateInfo } from "./certificate.ts";
import { certificateNames } from "./names.ts";

/** A leaf is renewed when it ends within this time (K3s since 2025: 120 days of 365), or a third of a shorter life. */
export const renewalWindowMs = 120 * 86_400_000;

export interface RenewalPlan {
  /** Wall-clock milliseconds at which to renew; now or earlier means at once. */
  renewAtMs: number;
  /** Why at once, if so. */
  reason: "expired" | "expiring" | "issuer-changed" | "names-missing" | "subject-changed" | undefined;
}

export interface WantedCertificate {
  commonName: string;
  organizations?: readonly string[];
  /** Names that the certificate must carry, normalised. */
  names?: readonly string[];
  /** The CA that would sign it now. */
  issuer?: CertificateInfo;
}

/**
 * When a certificate is to be replaced. Pure: the same certificate, wish and time give the same plan. A certificate of
 * another CA, with another subject or without a wanted name is due at once.
 */
export function planRenewal(certificate: CertificateInfo, nowMs: number, wanted?: WantedCertificate): RenewalPlan {
  const life = certificate.notAfterMs - certificate.notBeforeMs;
  const renewAtMs = certificate.notAfterMs - Math.min(renewalWindowMs, life / 3);
  const atOnce = (reason: RenewalPlan["reason"]): RenewalPlan => ({ renewAtMs: Math.min(renewAtMs, nowMs), reason });
  if (certificate.notAfterMs <= nowMs) return atOnce("expired");
  if (renewAtMs <= nowMs) return atOnce("expiring");
  if (wanted?.issuer !== undefined && isOfAnotherIssuer(certificate, wanted.issuer)) return atOnce("issuer-changed");
  if (wanted !== undefined && !hasSubject(certificate, wanted)) return atOnce("subject-changed");
  if (wanted?.names !== undefined) {
    const held = new Set(certificateNames(certificate));
    if (wanted.names.some((name) => !held.has(name))) return atOnce("names-missing");
  }
  return { renewAtMs, reason: undefined };
}

function isOfAnotherIssuer(certificate: CertificateInfo, issuer: CertificateInfo): boolean {
  if (!certificate.issuerDer.equals(issuer.subjectDer)) return true;
  const { authorityKeyId } = certificate;
  return (
    authorityKeyId !== undefined && issuer.subjectKeyId !== undefined && !authorityKeyId.equals(issuer.subjectKeyId)
  );
}

function hasSubject(certificate: CertificateInfo, wanted: WantedCertificate): boolean {
  const organizations = wanted.organizations ?? [];
  return (
    certificate.commonName === wanted.commonName &&
    certificate.organizations.length === organizations.length &&
    organizations.every((name) => certificate.organizations.includes(name))
  );
}
