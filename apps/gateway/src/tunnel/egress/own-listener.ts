import { networkInterfaces } from "node:os";
import { canonicalAddress } from "./address.ts";

/**
 * Whether dialling `host` (an address) reaches a listener of this machine that is bound to `bound`: a CONNECT to one of our
 * own would come back to us, with our rights and without end.
 */
export function leadsToListener(host: string, bound: string): boolean {
  const address = canonicalAddress(host);
  const listener = canonicalAddress(bound);
  if (address === listener) return true;
  // Dialled, the address of no machine means loopback.
  if (isUnspecified(address)) return isUnspecified(listener) || isLoopback(listener);
  return isUnspecified(listener) && (isLoopback(address) || ownAddresses().has(address));
}

function isUnspecified(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}

/** Asked anew each time: interfaces come and go. */
function ownAddresses(): Set<string> {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return new Set(all.map(({ address }) => canonicalAddress(address)));
}
