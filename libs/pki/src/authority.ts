import { createHash, createPublicKey, hkdfSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { KeelsonError } from "@keelson/service";
import { type CertificateInfo, isIssuedBy, readBundle } from "./certificate.ts";
import {
  bitString,
  boolean,
  contextTag,
  encode,
  integer,
  octetString,
  oid,
  sequence,
  tags,
  text,
  time,
} from "./der.ts";
import { addressOf } from "./names.ts";
import { readPem, writePem } from "./pem.ts";

const dayMs = 86_400_000;
const caLifetimeMs = 3_650 * dayMs;
/** Lifetime of a leaf, unless its issuer says otherwise. */
export const leafLifetimeMs = 365 * dayMs;
/** A leaf is valid from a little before its issue, so that a peer whose clock is behind accepts it. */
const backdateMs = 3_600_000;

const oids = {
  commonName: oid("2.5.4.3"),
  organization: oid("2.5.4.10"),
  subjectKeyId: oid("2.5.29.14"),
  keyUsage: oid("2.5.29.15"),
  subjectAltName: oid("2.5.29.17"),
  basicConstraints: oid("2.5.29.19"),
  authorityKeyId: oid("2.5.29.35"),
  extendedKeyUsage: oid("2.5.29.37"),
  server: oid("1.3.6.1.5.5.7.3.1"),
  client: oid("1.3.6.1.5.5.7.3.2"),
};

export type Purpose = "server" | "client";

/** What a leaf certificate says. */
export interface LeafProfile {
  commonName: string;
  organizations?: readonly string[];
  purposes: readonly Purpose[];
  /** DNS names and IP literals, in the order in which they go into the certificate. */
  names?: readonly string[];
}

/** A CA that can sign: its bundle as it stands on disk (the issuer first) and its private key. */
export class Authority {
  readonly bundlePem: string;
  readonly certificate: CertificateInfo;
  /** The certificates of the bundle, without whatever else the file says: what follows each leaf. */
  readonly #chainPem: string;
  readonly #key: KeyObject;

  constructor(bundlePem: string, key: KeyObject) {
    const [certificate] = readBundle(bundlePem);
    if (certificate === undefined) throw new KeelsonError("pki/ca-invalid", "a CA file holds no certificate");
    if (!certificate.isCa) {
      throw new KeelsonError("pki/ca-invalid", `"${certificate.commonName}" is not a CA certificate`, {
        hint: "the first certificate of a CA file must be the one that issues (basicConstraints CA:TRUE)",
      });
    }
    if (!createPublicKey(key).export({ type: "spki", format: "der" }).equals(certificate.publicKeyDer)) {
      throw new KeelsonError("pki/ca-key-mismatch", `the key of CA "${certificate.commonName}" is another CA's`, {
        hint: "put the .crt and .key of the same CA side by side",
      });
    }
    this.bundlePem = bundlePem;
    this.certificate = certificate;
    this.#chainPem = certificatesOf(bundlePem);
    this.#key = key;
  }

  /** Only the issuing certificate, for signers that cannot use a chain. */
  get issuerPem(): string {
    return writePem("CERTIFICATE", this.certificate.der);
  }

  /** Issues a leaf; the answer is the leaf followed by the CA bundle. */
  issue(profile: LeafProfile, publicKey: KeyObject, nowMs: number, lifetimeMs: number = leafLifetimeMs): string {
    const ca = this.certificate;
    const notBefore = Math.max(nowMs - backdateMs, ca.notBeforeMs);
    const notAfter = Math.min(notBefore + lifetimeMs, ca.notAfterMs);
    const names = (profile.names ?? []).map(generalName);
    const der = signCertificate(this.#key, {
      serial: randomSerial(),
      issuerDer: ca.subjectDer,
      subjectDer: nameDer(profile.commonName, profile.organizations ?? []),
      notBeforeMs: notBefore,
      notAfterMs: notAfter,
      publicKeyDer: publicKey.export({ type: "spki", format: "der" }),
      extensions: [
        extension(oids.keyUsage, true, bitString(Buffer.from([0xa0]), 5)),
        extension(oids.extendedKeyUsage, false, sequence(...profile.purposes.map((purpose) => oids[purpose]))),
        ...this.#authorityKeyId,
        ...(names.length === 0 ? [] : [extension(oids.subjectAltName, false, sequence(...names))]),
      ],
    });
    return writePem("CERTIFICATE", der) + this.#chainPem;
  }

  /** 32 bytes that only a holder of this CA's private key can derive, different for each label (HKDF-SHA256). */
  deriveKey(label: string): Uint8Array {
    const secret = this.#key.export({ type: "pkcs8", format: "der" });
    return new Uint8Array(hkdfSync("sha256", secret, this.certificate.publicKeyDer, label, 32));
  }

  /**
   * A new CA, signed by this one and followed by its bundle: both are trusted by whoever trusts either. It lives for the full
   * ten years, and so must what it hangs on: in the bundle this CA is self-signed anew, with the same name and key. Only a CA
   * that hangs on somebody else's root (its name is none of `prefix`) cannot be outlived.
   */
  issueSuccessor(prefix: string, key: KeyObject, nowMs: number): string {
    const ca = this.certificate;
    const isOwnRoot = isIssuedBy(ca, ca);
    const notAfterMs = nowMs + caLifetimeMs;
    const mayAnchor = isOwnRoot || ca.commonName.startsWith(`${prefix}-ca@`);
    const publicKeyDer = createPublicKey(key).export({ type: "spki", format: "der" });
    const der = signCertificate(this.#key, {
      serial: randomSerial(),
      issuerDer: ca.subjectDer,
      subjectDer: nameDer(`${prefix}-ca@${Math.floor(nowMs / 1_000)}`, []),
      notBeforeMs: Math.max(nowMs - backdateMs, ca.notBeforeMs),
      notAfterMs: mayAnchor ? notAfterMs : Math.min(notAfterMs, ca.notAfterMs),
      publicKeyDer,
      extensions: [...caExtensions(keyId(publicKeyDer)), ...this.#authorityKeyId],
    });
    const successor = writePem("CERTIFICATE", der);
    if (!mayAnchor) return successor + this.#chainPem;
    const behind = readPem(this.#chainPem).slice(isOwnRoot ? 1 : 0);
    return successor + this.#anchor(notAfterMs) + behind.map((block) => block.text).join("");
  }

  /** This CA, self-signed, until another end. */
  #anchor(notAfterMs: number): string {
    const { subjectDer, subjectKeyId, notBeforeMs, publicKeyDer } = this.certificate;
    const der = signCertificate(this.#key, {
      serial: randomSerial(),
      issuerDer: subjectDer,
      subjectDer,
      notBeforeMs,
      notAfterMs,
      publicKeyDer,
      extensions: caExtensions(subjectKeyId),
    });
    return writePem("CERTIFICATE", der);
  }

  get #authorityKeyId(): Buffer[] {
    const { subjectKeyId } = this.certificate;
    if (subjectKeyId === undefined) return [];
    return [extension(oids.authorityKeyId, false, sequence(encode(contextTag(0, false), subjectKeyId)))];
  }
}

/** The extensions of a CA, ahead of who signs it. */
function caExtensions(subjectKeyId: Uint8Array | undefined): Buffer[] {
  return [
    extension(oids.keyUsage, true, bitString(Buffer.from([0xa4]), 2)),
    extension(oids.basicConstraints, true, sequence(boolean(true))),
    ...(subjectKeyId === undefined ? [] : [extension(oids.subjectKeyId, false, octetString(subjectKeyId))]),
  ];
}

/** A new self-signed CA, `<prefix>-ca@<unix seconds>`; PEM. */
export function createCaCertificate(prefix: string, key: KeyObject, nowMs: number): string {
  const publicKeyDer = createPublicKey(key).export({ type: "spki", format: "der" });
  const name = nameDer(`${prefix}-ca@${Math.floor(nowMs / 1_000)}`, []);
  const notBeforeMs = Math.floor(nowMs / 1_000) * 1_000;
  const der = signCertificate(key, {
    serial: Buffer.from([0]),
    issuerDer: name,
    subjectDer: name,
    notBeforeMs,
    notAfterMs: notBeforeMs + caLifetimeMs,
    publicKeyDer,
    extensions: caExtensions(keyId(publicKeyDer)),
  });
  return writePem("CERTIFICATE", der);
}

interface Tbs {
  serial: Buffer;
  issuerDer: Uint8Array;
  subjectDer: Uint8Array;
  notBeforeMs: number;
  notAfterMs: number;
  publicKeyDer: Uint8Array;
  extensions: readonly Buffer[];
}

function signCertificate(key: KeyObject, tbs: Tbs): Buffer {
  const { algorithm, digest } = signatureAlgorithm(key);
  const body = sequence(
    encode(contextTag(0), integer(Buffer.from([2]))), // version 3
    integer(tbs.serial),
    algorithm,
    tbs.issuerDer,
    sequence(time(tbs.notBeforeMs), time(tbs.notAfterMs)),
    tbs.subjectDer,
    tbs.publicKeyDer,
    encode(contextTag(3), sequence(...tbs.extensions)),
  );
  return sequence(body, algorithm, bitString(sign(digest, body, key)));
}

function signatureAlgorithm(key: KeyObject): { algorithm: Buffer; digest: string | null } {
  if (key.asymmetricKeyType === "ec") {
    switch (key.asymmetricKeyDetails?.namedCurve) {
      case "secp384r1":
        return { algorithm: sequence(oid("1.2.840.10045.4.3.3")), digest: "sha384" };
      case "secp521r1":
        return { algorithm: sequence(oid("1.2.840.10045.4.3.4")), digest: "sha512" };
      default:
        return { algorithm: sequence(oid("1.2.840.10045.4.3.2")), digest: "sha256" };
    }
  }
  if (key.asymmetricKeyType === "rsa") {
    return { algorithm: sequence(oid("1.2.840.113549.1.1.11"), encode(tags.null)), digest: "sha256" };
  }
  if (key.asymmetricKeyType === "ed25519") return { algorithm: sequence(oid("1.3.101.112")), digest: null };
  throw new KeelsonError("pki/ca-key-unsupported", `a CA key of type ${key.asymmetricKeyType} cannot sign`, {
    hint: "use an EC, RSA or Ed25519 key",
  });
}

function nameDer(commonName: string, organizations: readonly string[]): Buffer {
  const attribute = (type: Buffer, value: string): Buffer => encode(tags.set, sequence(type, text(value)));
  return sequence(
    ...(organizations.length === 0
      ? []
      : [
          encode(
            tags.set,
            ...organizations.map((name) => sequence(oids.organization, text(name))).sort(Buffer.compare),
          ),
        ]),
    ...(commonName === "" ? [] : [attribute(oids.commonName, commonName)]),
  );
}

function generalName(name: string): Buffer {
  const address = addressOf(name);
  return address === undefined
    ? encode(contextTag(2, false), Buffer.from(name, "latin1"))
    : encode(contextTag(7, false), address);
}

function extension(type: Buffer, critical: boolean, value: Buffer): Buffer {
  return sequence(type, ...(critical ? [boolean(true)] : []), octetString(value));
}

/** SHA-1 over the bits of the public key (RFC 5280, 4.2.1.2). */
function keyId(publicKeyDer: Uint8Array): Buffer {
  // The key bits are the last element of SubjectPublicKeyInfo; an uncompressed P-256 point is its last 65 bytes.
  return createHash("sha1").update(publicKeyDer.subarray(-65)).digest();
}

/** 63 random bits, never zero. */
function randomSerial(): Buffer {
  const serial = randomBytes(8);
  serial[0]! &= 0x7f;
  serial[7]! |= 1;
  return serial;
}

function certificatesOf(pem: string): string {
  return readPem(pem)
    .filter(({ label }) => label === "CERTIFICATE")
    .map((entry) => entry.text)
    .join("");
}
