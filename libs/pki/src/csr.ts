import { createPublicKey, type KeyObject, sign } from "node:crypto";
import { bitString, contextTag, DerError, DerReader, encode, integer, oid, readBits, sequence, tags } from "./der.ts";

/**
 * A PKCS#10 request in DER with an empty subject, which is what agents send: the server takes the public key and decides
 * everything else. The key is EC P-256.
 */
export function createCertificateRequest(privateKey: KeyObject): Buffer {
  const spki = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  const info = sequence(integer(Buffer.from([0])), sequence(), spki, encode(contextTag(0)));
  const algorithm = sequence(oid("1.2.840.10045.4.3.2")); // ecdsa-with-SHA256
  return sequence(info, algorithm, bitString(sign("sha256", info, privateKey)));
}

/** The public key of a PKCS#10 request in DER. Throws a DerError on anything else, or on a key that is too weak. */
export function readCertificateRequest(der: Uint8Array): KeyObject {
  const outer = new DerReader(der);
  const request = outer.enter();
  outer.end();
  const info = request.enter();
  if (readSmallInteger(info) !== 0) throw new DerError("not a version 1 certificate request");
  info.expect(tags.sequence); // subject: the server decides it
  const spki = info.expect(tags.sequence).raw;
  request.expect(tags.sequence);
  readBits(request.expect(tags.bitString));
  request.end();
  return importPublicKey(spki);
}

function readSmallInteger(reader: DerReader): number {
  const { content } = reader.expect(tags.integer);
  if (content.length !== 1) throw new DerError("integer out of bounds");
  return content[0]!;
}

function importPublicKey(spki: Buffer): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: spki, format: "der", type: "spki" });
  } catch {
    throw new DerError("the public key of the request cannot be read");
  }
  const details = key.asymmetricKeyDetails;
  const strong =
    (key.asymmetricKeyType === "ec" && ["prime256v1", "secp384r1", "secp521r1"].includes(details?.namedCurve ?? "")) ||
    (key.asymmetricKeyType === "rsa" && (details?.modulusLength ?? 0) >= 2048 && details!.modulusLength! <= 8192) ||
    key.asymmetricKeyType === "ed25519";
  if (!strong) throw new DerError("the key of the request is of a kind that is not accepted");
  return key;
}
