import type { LeafSummary } from "@keelson/protocol/supervisor";
import type { LeafStatus } from "./server-pki.ts";

/** A leaf as the supervisor API shows it. */
export function summaryOf({ certificate, commonName, notBeforeMs, notAfterMs, plan }: LeafStatus): LeafSummary {
  return {
    name: certificate.file,
    commonName,
    notBefore: timeOf(notBeforeMs),
    notAfter: timeOf(notAfterMs),
    renewAt: timeOf(plan.renewAtMs),
    ...(plan.reason === undefined ? {} : { reason: plan.reason }),
  };
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
