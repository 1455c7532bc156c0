import type { EnvelopeStore } from "./envelope-store.ts";

/** One key for each live server, with a lease of seconds. Source: kube-apiserver's master lease reconciler. */
const leasePrefix = "/registry/masterleases/";

/**
 * URLs of the servers that are alive in a shared datastore, this one's address left out. A record that says no port (those of
 * kube-apiserver say none) stands for our own.
 */
export async function liveServers(store: EnvelopeStore, own: { address: string; port: number }): Promise<string[]> {
  const leases = await store.list(leasePrefix);
  return leases.flatMap(({ key, value }) => {
    const address = key.slice(leasePrefix.length);
    if (address === "" || address === own.address) return [];
    const host = address.includes(":") ? `[${address}]` : address;
    return [`https://${host}:${publishedPort(value) ?? own.port}`];
  });
}

function publishedPort(record: string): number | undefined {
  const match = /"ports":\s*\[\s*\{[^}]*"port":\s*(\d{1,5})/.exec(record);
  return match === null ? undefined : Number(match[1]);
}
