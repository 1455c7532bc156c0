import type { LeaseChange } from "../append-log.ts";
import { previousValuesInBatch, storedName, storedValue } from "./kine-row.ts";
import type { Step } from "./postgres-link.ts";
import { sql } from "./postgres-statements.ts";
import { byteaArray, encodeName, int4Array, int8Array, textArray } from "./postgres-values.ts";
import type { SequencedBatch } from "./sql-database.ts";

/** The statements of one batch, COMMIT included, to be sent in one go. */
export function commitSteps(batch: SequencedBatch): Step[] {
  const { rows, leases, settings, compactedRevision, changeSeq } = batch;
  const steps: Step[] = [];
  if (rows.length > 0) {
    const previous = previousValuesInBatch(rows);
    steps.push([
      sql.insert,
      [
        int8Array(rows.map((row) => row.id)),
        textArray(rows.map((row) => encodeName(storedName(row)))),
        int4Array(rows.map((row) => (row.created ? 1 : 0))),
        int4Array(rows.map((row) => (row.deleted ? 1 : 0))),
        int8Array(rows.map((row) => row.createRevision)),
        int8Array(rows.map((row) => row.previousId)),
        int4Array(rows.map((row) => row.leaseTtlSeconds)),
        byteaArray(rows.map(storedValue)),
        byteaArray(rows.map((row) => previous.get(row.id))),
        int8Array(rows.map((row) => row.version)),
        int8Array(rows.map((row) => (row.leaseId === 0n ? undefined : row.leaseId))),
        int8Array(rows.map((row) => (row.txnLast === 0 ? undefined : row.txnLast))),
      ],
    ]);
  }
  steps.push(...leaseSteps(leases, changeSeq));
  for (const [name, value] of settings) {
    steps.push(value === undefined ? [sql.removeSetting, [name]] : [sql.setSetting, [name, value]]);
  }
  if (compactedRevision !== undefined) steps.push([sql.compact, [compactedRevision]]);
  const memberId = batch.memberId.toString();
  steps.push(
    [sql.seal, [batch.lastId, changeSeq, compactedRevision ?? -1, memberId, batch.batchNumber, memberId, batch.era]],
    [sql.commit],
  );
  return steps;
}

/** The last change of each lease counts, but a grant stays one. */
function leaseSteps(leases: readonly LeaseChange[], changeSeq: number): Step[] {
  const steps: Step[] = [];
  const granted = leases.filter((change) => change.kind === "grant");
  const ids = (kind: LeaseChange["kind"]): bigint[] => [
    ...new Set(leases.filter((change) => change.kind === kind).map(({ id }) => id)),
  ];
  if (granted.length > 0) {
    const ttls = granted.map(({ ttlSeconds }) => ttlSeconds);
    steps.push([sql.grantLeases, [int8Array(granted.map(({ id }) => id)), int8Array(ttls), changeSeq]]);
  }
  const renewed = ids("renew");
  if (renewed.length > 0) steps.push([sql.renewLeases, [int8Array(renewed), changeSeq]]);
  const revoked = ids("revoke");
  if (revoked.length > 0) steps.push([sql.revokeLeases, [int8Array(revoked), changeSeq]]);
  return steps;
}
