import { X509Certificate } from "node:crypto";
import { contextTag, DerError, DerReader, readBits, readOid, readTime, tags } from "./der.ts";
import { readPem } from "./pem.ts";

/** What is read of a certificate. */
export interface CertificateInfo {
  der: Buffer;
  /** Hex, as OpenSSL prints it. */
  serial: string;
  issuerDer: Buffer;
  subjectDer: Buffer;
  commonName: string;
  organizations: readonly string[];
  issuerCommonName: string;
  notBeforeMs: number;
  notAfterMs: number;
  /** SubjectPublicKeyInfo. */
  publicKeyDer: Buffer;
  isCa: boolean;
  /** CAs that may stand between this one and a leaf; undefined = any number. */
  pathLength: number | undefined;
  /** Names of RFC 5280's bits, empty when the extension is missing. */
  keyUsage: readonly string[];
  /** `server`, `client`, `any`, or the object identifier of another purpose. */
  extendedKeyUsage: readonly string[];
  dnsNames: readonly string[];
  /** Address bytes, 4 or 16 each. */
  ipAddresses: readonly Buffer[];
  subjectKeyId: Buffer | undefined;
  authorityKeyId: Buffer | undefined;
  /** It must not be used by who does not know all that it says, and here is something that we do not know. */
  unknownCritical: boolean;
}

const keyUsageNames = [
  "digitalSignature",
  "nonRepudiation",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
  "encipherOnly",
  "decipherOnly",
];
const purposes: Readonly<Record<string, string>> = {
  "1.3.6.1.5.5.7.3.1": "server",
  "1.3.6.1.5.5.7.3.2": "client",
  "2.5.29.37.0": "any",
};
/** Extensions of a CA that may be critical and restrict nothing of what is read here: names of hosts, policies, where CRLs are. */
const irrelevant = new Set(["2.5.29.30", "2.5.29.31", "2.5.29.32", "2.5.29.33", "2.5.29.36", "2.5.29.54"]);

/** Reads a certificate in DER, or the first one of a PEM text. Throws a DerError on anything else. */
export function readCertificate(input: Uint8Array | string): CertificateInfo {
  const der = typeof input === "string" ? firstCertificate(input) : Buffer.from(input);
  const outer = new DerReader(der);
  const certificate = outer.enter();
  outer.end();
  const body = certificate.enter();
  body.optional(contextTag(0)); // version
  const serial = body.expect(tags.integer).content.toString("hex").toUpperCase();
  body.expect(tags.sequence); // signature algorithm
  const issuerDer = body.expect(tags.sequence).raw;
  const validity = body.enter();
  const notBeforeMs = readTime(validity.next());
  const notAfterMs = readTime(validity.next());
  const subjectDer = body.expect(tags.sequence).raw;
  const publicKeyDer = body.expect(tags.sequence).raw;
  const subject = readName(subjectDer);
  const info: CertificateInfo = {
    der,
    serial,
    issuerDer,
    subjectDer,
    commonName: subject.commonName,
    organizations: subject.organizations,
    issuerCommonName: readName(issuerDer).commonName,
    notBeforeMs,
    notAfterMs,
    publicKeyDer,
    isCa: false,
    pathLength: undefined,
    keyUsage: [],
    extendedKeyUsage: [],
    dnsNames: [],
    ipAddresses: [],
    subjectKeyId: undefined,
    authorityKeyId: undefined,
    unknownCritical: false,
  };
  while (!body.done) {
    const field = body.next();
    if (field.tag === contextTag(3)) Object.assign(info, readExtensions(field.content));
  }
  return info;
}

/** Every certificate of a PEM bundle, in order. */
export function readBundle(pem: string): CertificateInfo[] {
  return readPem(pem)
    .filter(({ label }) => label === "CERTIFICATE")
    .map(({ der }) => readCertificate(der));
}

/** Whether `certificate` names `issuer` as its issuer, by name and key identifier. */
export function isNamedIssuer(certificate: CertificateInfo, issuer: CertificateInfo): boolean {
  if (!certificate.issuerDer.equals(issuer.subjectDer)) return false;
  const [wanted, held] = [certificate.authorityKeyId, issuer.subjectKeyId];
  return wanted === undefined || held === undefined || wanted.equals(held);
}

/** Whether `issuer` issued and signed `certificate`: names, key identifiers and signature. */
export function isIssuedBy(certificate: CertificateInfo, issuer: CertificateInfo): boolean {
  if (!isNamedIssuer(certificate, issuer)) return false;
  try {
    return new X509Certificate(certificate.der).verify(new X509Certificate(issuer.der).publicKey);
  } catch {
    return false; // a key that cannot have made this signature, or one that OpenSSL does not read
  }
}

/**
 * What to show of a certificate file in a TLS handshake: all but the self-signed certificates behind the leaf. A peer trusts
 * those by itself or not at all (RFC 8446, 4.4.2), and would hold them for as long as the connection lives.
 */
export function withoutRoots(pem: string): string {
  const blocks = readPem(pem).filter(({ label }) => label === "CERTIFICATE");
  const isRoot = (der: Buffer): boolean => {
    const certificate = readCertificate(der);
    return isIssuedBy(certificate, certificate);
  };
  return blocks
    .filter(({ der }, index) => index === 0 || !isRoot(der))
    .map(({ text }) => text)
    .join("");
}

function firstCertificate(pem: string): Buffer {
  const block = readPem(pem).find(({ label }) => label === "CERTIFICATE");
  if (block === undefined) throw new DerError("there is no certificate in this text");
  return block.der;
}

function readName(der: Buffer): { commonName: string; organizations: string[] } {
  const result = { commonName: "", organizations: [] as string[] };
  const sets = new DerReader(der).enter();
  while (!sets.done) {
    const attributes = sets.enter(tags.set);
    while (!attributes.done) {
      const attribute = attributes.enter();
      const type = readOid(attribute.expect(tags.oid));
      const value = attribute.next().content.toString("utf8");
      if (type === "2.5.4.3") result.commonName = value;
      else if (type === "2.5.4.10") result.organizations.push(value);
    }
  }
  return result;
}

function readExtensions(content: Buffer): Partial<CertificateInfo> {
  const found: Partial<CertificateInfo> = {};
  const list = new DerReader(content).enter();
  while (!list.done) {
    const extension = list.enter();
    const type = readOid(extension.expect(tags.oid));
    const critical = extension.optional(tags.boolean)?.content[0] === 0xff;
    const value = new DerReader(extension.expect(tags.octetString).content);
    switch (type) {
      case "2.5.29.15":
        found.keyUsage = readKeyUsage(value);
        break;
      case "2.5.29.37":
        found.extendedKeyUsage = readPurposes(value);
        break;
      case "2.5.29.19":
        Object.assign(found, readBasicConstraints(value));
        break;
      case "2.5.29.14":
        found.subjectKeyId = value.expect(tags.octetString).content;
        break;
      case "2.5.29.35":
        found.authorityKeyId = value.enter().optional(contextTag(0, false))?.content;
        break;
      case "2.5.29.17":
        Object.assign(found, readAlternativeNames(value));
        break;
      default:
        if (critical && !irrelevant.has(type)) found.unknownCritical = true;
    }
  }
  return found;
}

function readBasicConstraints(value: DerReader): Pick<CertificateInfo, "isCa" | "pathLength"> {
  const constraints = value.enter();
  const isCa = constraints.optional(tags.boolean)?.content[0] === 0xff;
  const length = constraints.optional(tags.integer)?.content;
  // A longer or negative number is nobody's: the strictest reading is the safe one.
  return {
    isCa,
    pathLength: length === undefined ? undefined : length.length === 1 && length[0]! < 128 ? length[0] : 0,
  };
}

function readKeyUsage(value: DerReader): string[] {
  const { bytes } = readBits(value.expect(tags.bitString));
  return keyUsageNames.filter((_, bit) => ((bytes[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0);
}

function readPurposes(value: DerReader): string[] {
  const list = value.enter();
  const found: string[] = [];
  while (!list.done) {
    const purpose = readOid(list.expect(tags.oid));
    found.push(purposes[purpose] ?? purpose);
  }
  return found;
}

function readAlternativeNames(value: DerReader): { dnsNames: string[]; ipAddresses: Buffer[] } {
  const dnsNames: string[] = [];
  const ipAddresses: Buffer[] = [];
  const list = value.enter();
  while (!list.done) {
    const name = list.next();
    if (name.tag === contextTag(2, false)) dnsNames.push(name.content.toString("latin1"));
    else if (name.tag === contextTag(7, false)) ipAddresses.push(name.content);
  }
  return { dnsNames, ipAddresses };
}
