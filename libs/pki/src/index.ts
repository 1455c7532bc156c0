export {
  Authority,
  createCaCertificate,
  type LeafProfile,
  leafLifetimeMs,
  type Purpose,
} from "./authority.ts";
export { type CertificateInfo, isIssuedBy, readBundle, readCertificate, withoutRoots } from "./certificate.ts";
export { createCertificateRequest, readCertificateRequest } from "./csr.ts";
export { DerError } from "./der.ts";
export { exportPrivateKey, generateEcKey, generateRsaKey, importPrivateKey } from "./keys.ts";
export { admitListenerNames, kubernetesNames, type ListenerGuard } from "./listener-names.ts";
export { addressOf, certificateNames, isDnsName, normalizeName, uniqueNames } from "./names.ts";
export { type PemBlock, readPem, splitCertificateAndKey, writePem } from "./pem.ts";
export { planRenewal, type RenewalPlan, renewalWindowMs, type WantedCertificate } from "./renewal.ts";
export {
  type AuthorityName,
  authorityFiles,
  type ServerCertificate,
  serverCertificates,
  sharedKubeletKeys,
} from "./server-certificates.ts";
export {
  type CertificateRefusal,
  presentedChain,
  readTrustBundle,
  type VerifiedCertificate,
  verifyChain,
} from "./verify.ts";
