import { isIP } from "node:net";
import { addressBytes, formatAddress } from "@keelson/protocol/supervisor";
import type { CertificateInfo } from "./certificate.ts";

/** The bytes of an IP literal for a certificate (4 or 16), undefined for any other name. */
export function addressOf(name: string): Buffer | undefined {
  return isIP(name) === 0 ? undefined : addressBytes(name);
}

/** A DNS name that may stand in a certificate; one wildcard label at the left is fine. */
export function isDnsName(name: string): boolean {
  if (name.length === 0 || name.length > 253 || isIP(name) !== 0) return false;
  return name
    .replace(/^\*\./, "")
    .split(".")
    .every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label));
}

/** The form in which two names for the same thing are equal: lower case, shortest IPv6, IPv4 out of its IPv6 cloak. */
export function normalizeName(name: string): string {
  const bare = name
    .trim()
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/^::ffff:(\d+\.\d+\.\d+\.\d+)$/i, "$1");
  const address = addressOf(bare);
  return address === undefined ? bare.toLowerCase().replace(/\.$/, "") : formatAddress(address);
}

/** Names once each, normalised, in the order of their first appearance. */
export function uniqueNames(names: Iterable<string>): string[] {
  return [...new Set([...names].map(normalizeName))].filter((name) => name !== "");
}

/** The DNS names and addresses that a certificate carries, normalised. */
export function certificateNames(certificate: Pick<CertificateInfo, "dnsNames" | "ipAddresses">): string[] {
  return [...certificate.dnsNames.map(normalizeName), ...certificate.ipAddresses.map(formatAddress)];
}
