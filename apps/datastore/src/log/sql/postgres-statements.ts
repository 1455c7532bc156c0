import type { Statement } from "./postgres-link.ts";

/** Where replicas tell each other of their commits. */
export const channel = "keelson_kine";
/** A member is alive while its last sign is younger than this, and forgotten when it is older than that. */
const memberLifetime = "30 seconds";
const memberMemory = "1 hour";

const headColumns = "id, name, created, deleted, create_revision, prev_revision, lease, version, lease_id, txn_last";

/** Every statement of the driver, prepared under its name; the names of kine's statements are kine's. */
export const sql = {
  begin: { name: "Begin", text: "BEGIN" },
  commit: { name: "Commit", text: "COMMIT" },
  /** The row that every batch updates, and beside it the table's own end, in case kine has written. */
  head: {
    name: "CurrentRev",
    text: "SELECT last_id, change_seq, compacted, era, (SELECT MAX(id) FROM kine) FROM keelson_sequencer WHERE id = 1",
  },
  rowsAfter: {
    name: "GetRevisionAfterVal",
    text: `SELECT ${headColumns}, value FROM kine WHERE id > $1 ORDER BY id LIMIT $2`,
  },
  insert: {
    name: "Insert",
    text: `INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, old_value, version, lease_id, txn_last)
      SELECT r.id, r.name, r.created, r.deleted, r.create_revision, r.prev_revision, r.lease, r.value,
        CASE WHEN r.deleted = 1 THEN COALESCE(r.old_value, (SELECT p.value FROM kine p WHERE p.id = r.prev_revision)) END,
        r.version, r.lease_id, r.txn_last
      FROM unnest($1::int8[], $2::text[], $3::int4[], $4::int4[], $5::int8[], $6::int8[], $7::int4[], $8::bytea[], $9::bytea[],
        $10::int8[], $11::int8[], $12::int8[])
        AS r(id, name, created, deleted, create_revision, prev_revision, lease, value, old_value, version, lease_id, txn_last)`,
  },
  /** Ends every batch: state, this member's batch number, kine's sequence and the wake-up, in one statement. */
  seal: {
    name: "Seal",
    text: `WITH state AS (
        UPDATE keelson_sequencer SET last_id = $1, change_seq = $2, compacted = GREATEST(compacted, $3), era = $7 WHERE id = 1
      ), member AS (
        INSERT INTO keelson_member AS m (id, name, client_urls, batch, seen_at) VALUES ($4, '', '[]', $5, now())
        ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, seen_at = excluded.seen_at
      )
      SELECT setval('kine_id_seq', $1::int8), pg_notify('${channel}', $6)`,
  },
  compact: {
    name: "UpdateCompact",
    text: "UPDATE kine SET prev_revision = $1 WHERE name = 'compact_rev_key' AND prev_revision < $1",
  },
  grantLeases: {
    name: "GrantLease",
    text: `INSERT INTO keelson_lease (id, ttl, revoked, granted_at, changed_at)
      SELECT r.id, r.ttl, false, $3::int8, $3::int8 FROM unnest($1::int8[], $2::int8[]) AS r(id, ttl)
      ON CONFLICT (id) DO UPDATE SET ttl = excluded.ttl, revoked = false, granted_at = excluded.granted_at, changed_at = excluded.changed_at`,
  },
  renewLeases: {
    name: "RenewLease",
    text: "UPDATE keelson_lease SET changed_at = $2 WHERE id = ANY($1::int8[]) AND NOT revoked",
  },
  revokeLeases: {
    name: "RevokeLease",
    text: "UPDATE keelson_lease SET changed_at = $2, revoked = true WHERE id = ANY($1::int8[])",
  },
  leasesAfter: {
    name: "LeasesAfter",
    text: "SELECT id, ttl, revoked, granted_at > $1 FROM keelson_lease WHERE changed_at > $1 ORDER BY changed_at",
  },
  leases: { name: "Leases", text: "SELECT id, ttl FROM keelson_lease WHERE NOT revoked" },
  forgetLeases: { name: "ForgetLeases", text: "DELETE FROM keelson_lease WHERE revoked AND changed_at < $1" },
  settings: { name: "Settings", text: "SELECT name, value FROM keelson_meta" },
  setSetting: {
    name: "SetSetting",
    text: "INSERT INTO keelson_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
  },
  removeSetting: { name: "RemoveSetting", text: "DELETE FROM keelson_meta WHERE name = $1" },
  purge: { name: "Compact", text: "DELETE FROM kine WHERE id = ANY($1::int8[])" },
  size: {
    name: "GetSize",
    text: `SELECT pg_total_relation_size('kine'), pg_relation_size('kine'), COALESCE(s.n_live_tup, 0), COALESCE(s.n_dead_tup, 0)
      FROM (SELECT 1) AS always LEFT JOIN pg_stat_all_tables s ON s.relid = 'kine'::regclass`,
  },
  lastBatch: { name: "LastBatch", text: "SELECT batch FROM keelson_member WHERE id = $1" },
  beat: {
    name: "Beat",
    text: `INSERT INTO keelson_member (id, name, client_urls, batch, seen_at) VALUES ($1, $2, $3, 0, now())
      ON CONFLICT (id) DO UPDATE SET name = excluded.name, client_urls = excluded.client_urls, seen_at = excluded.seen_at`,
  },
  members: {
    name: "Members",
    text: `SELECT id, name, client_urls FROM keelson_member WHERE seen_at > now() - interval '${memberLifetime}' ORDER BY id`,
  },
  forgetMembers: {
    name: "ForgetMembers",
    text: `DELETE FROM keelson_member WHERE id = $1 OR seen_at < now() - interval '${memberMemory}'`,
  },
  handBack: {
    name: "AfterOldVal",
    text: `UPDATE kine SET old_value = (SELECT p.value FROM kine p WHERE p.id = kine.prev_revision)
      WHERE id IN (SELECT id FROM kine WHERE id > $1 AND old_value IS NULL AND prev_revision <> 0 AND name <> 'compact_rev_key'
        AND EXISTS (SELECT 1 FROM kine p WHERE p.id = kine.prev_revision AND p.value IS NOT NULL) ORDER BY id DESC LIMIT $2)
      RETURNING 1`,
  },
} as const satisfies Record<string, Statement>;

/** What is copied out (see PostgresCopy), which takes no parameters. */
export const copied = {
  loadRows: (afterId: number, limit: number): Statement => ({
    name: "GetRevisionAfter",
    text: `SELECT ${headColumns} FROM kine WHERE id > ${afterId} ORDER BY id LIMIT ${limit}`,
  }),
  values: (ids: readonly number[]): Statement => ({
    name: "GetVal",
    text: `SELECT id, name, deleted, value FROM kine WHERE id = ANY('{${ids.join()}}'::int8[])`,
  }),
};
