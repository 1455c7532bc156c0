import { createPrivateKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";

const generate = promisify(generateKeyPair);

/** A new EC P-256 private key, off the event loop. */
export async function generateEcKey(): Promise<KeyObject> {
  return (await generate("ec", { namedCurve: "P-256" })).privateKey;
}

/** A new RSA-2048 private key (service-account tokens), off the event loop: it takes up to half a second. */
export async function generateRsaKey(): Promise<KeyObject> {
  return (await generate("rsa", { modulusLength: 2048 })).privateKey;
}

/** `EC PRIVATE KEY` or `RSA PRIVATE KEY`, the forms that K3s writes; others as PKCS#8. */
export function exportPrivateKey(key: KeyObject): string {
  if (key.asymmetricKeyType === "ec") return key.export({ type: "sec1", format: "pem" }) as string;
  if (key.asymmetricKeyType === "rsa") return key.export({ type: "pkcs1", format: "pem" }) as string;
  return key.export({ type: "pkcs8", format: "pem" }) as string;
}

/** Reads a private key in PEM: SEC1, PKCS#1 or PKCS#8. */
export function importPrivateKey(pem: string): KeyObject {
  return createPrivateKey(pem);
}
