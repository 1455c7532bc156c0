/**
 * What an agent needs of this library, and no more: keys, certificate requests, PEM, reading a certificate and planning its
 * renewal. Exported as `@keelson/pki/csr`, so that a process that signs nothing loads nothing that signs.
 */
export { type CertificateInfo, readCertificate, withoutRoots } from "./certificate.ts";
export { createCertificateRequest } from "./csr.ts";
export { exportPrivateKey, generateEcKey, importPrivateKey } from "./keys.ts";
export { type PemBlock, readPem, splitCertificateAndKey, writePem } from "./pem.ts";
export { planRenewal, type RenewalPlan, renewalWindowMs } from "./renewal.ts";
