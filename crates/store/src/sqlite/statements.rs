//! Every statement of the SQLite back end but those of the schema. Each is prepared once per
//! connection.

pub(super) const EPOCH_BASE: &str = "SELECT epoch_base FROM origin";

pub(super) const FIND: &str = r#"
SELECT key, coalesce(
    (SELECT seq FROM recent WHERE document_key = key ORDER BY seq DESC LIMIT 1), head_seq)
FROM documents WHERE id = ?1
"#;

pub(super) const CREATE: &str =
    "INSERT INTO documents (id, created_at, updated_at) VALUES (?1, ?2, ?2)";

pub(super) const ADD_DELTA: &str = r#"
INSERT INTO deltas
    (document_key, seq, id, client_id, data, vector_clock, timestamp, created_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
"#;

pub(super) const ADD_RECENT: &str =
    "INSERT INTO recent (document_key, seq, delta) VALUES (?1, ?2, ?3)";

pub(super) const FIND_FILED_ID: &str =
    "SELECT seq FROM filed_ids WHERE document_key = ?1 AND id = ?2";

/// All that are not filed, but those of deleted documents.
pub(super) const RECENT: &str = r#"
SELECT documents.id, key, recent.seq, deltas.id, head_seq > 0
FROM recent JOIN documents ON key = recent.document_key JOIN deltas ON number = delta
ORDER BY recent.document_key, recent.seq
"#;

pub(super) const RECENT_CLOCKS: &str = r#"
SELECT client_id, vector_clock FROM recent JOIN deltas ON number = delta
WHERE recent.document_key = ?1
"#;

pub(super) const FILE: &str = r#"
INSERT INTO filed (document_key, seq, delta)
SELECT document_key, seq, delta FROM recent WHERE document_key = ?1
"#;

pub(super) const FILE_IDS: &str = r#"
INSERT INTO filed_ids (document_key, id, seq)
SELECT recent.document_key, id, recent.seq FROM recent JOIN deltas ON number = delta
WHERE recent.document_key = ?1
"#;

/// To what the last delta says that is not yet filed.
pub(super) const MOVE_HEAD: &str = r#"
UPDATE documents SET (head_seq, updated_at) = (
    SELECT recent.seq, created_at FROM recent JOIN deltas ON number = delta
    WHERE recent.document_key = ?1 ORDER BY recent.seq DESC LIMIT 1)
WHERE key = ?1
"#;

/// Never lowers a counter.
pub(super) const RAISE_CLOCK: &str = r#"
INSERT INTO clocks (document_key, client_id, counter) VALUES (?1, ?2, ?3)
ON CONFLICT (document_key, client_id) DO UPDATE SET counter = excluded.counter
WHERE excluded.counter > counter
"#;

pub(super) const DELETE_RECENT: &str = "DELETE FROM recent WHERE document_key = ?1";

pub(super) const DELETE_DOCUMENT: &str = "DELETE FROM documents WHERE key = ?1";

pub(super) const DELETE_SNAPSHOT: &str = "DELETE FROM snapshots WHERE document_key = ?1";

pub(super) const DELETE_CLOCK: &str = "DELETE FROM clocks WHERE document_key = ?1";

pub(super) const NOTE_REMOVED: &str = "INSERT INTO removed_documents (key) VALUES (?1)";

pub(super) const FIND_REMOVED: &str = "SELECT key FROM removed_documents LIMIT 1";

pub(super) const FORGET_REMOVED: &str = "DELETE FROM removed_documents WHERE key = ?1";

/// The deltas of a deleted document that are not filed.
pub(super) const SWEEP_RECENT_DELTAS: &str = r#"
DELETE FROM deltas WHERE number IN (SELECT delta FROM recent WHERE document_key = ?1)
"#;

/// Some deltas of a deleted document that are filed, at most `?2`; together with
/// [`SWEEP_FILED`] and [`SWEEP_FILED_IDS`], in this order.
pub(super) const SWEEP_FILED_DELTAS: &str = r#"
DELETE FROM deltas WHERE number IN (
    SELECT delta FROM filed WHERE document_key = ?1 ORDER BY seq LIMIT ?2)
"#;

pub(super) const SWEEP_FILED: &str = r#"
DELETE FROM filed WHERE document_key = ?1 AND seq IN (
    SELECT seq FROM filed WHERE document_key = ?1 ORDER BY seq LIMIT ?2)
"#;

pub(super) const SWEEP_FILED_IDS: &str = r#"
DELETE FROM filed_ids WHERE document_key = ?1 AND id IN (
    SELECT id FROM filed_ids WHERE document_key = ?1 ORDER BY id LIMIT ?2)
"#;

pub(super) const SNAPSHOT_SEQ: &str = "SELECT seq FROM snapshots WHERE document_key = ?1";

pub(super) const SAVE_SNAPSHOT: &str = r#"
INSERT OR REPLACE INTO snapshots (document_key, seq, vector_clock, bytes) VALUES (?1, ?2, ?3, ?4)
"#;

pub(super) const FIRST_FILED_AFTER: &str =
    "SELECT seq FROM filed WHERE document_key = ?1 AND seq > ?2 ORDER BY seq LIMIT 1";

/// Filed deltas numbered `?2` < seq ≤ `?3`.
pub(super) const CLOCKS_BETWEEN: &str = r#"
SELECT client_id, vector_clock, delta, filed.seq, id FROM filed JOIN deltas ON number = delta
WHERE filed.document_key = ?1 AND filed.seq > ?2 AND filed.seq <= ?3 AND created_at < ?4
"#;

pub(super) const DELETE_DELTA: &str = "DELETE FROM deltas WHERE number = ?1";

pub(super) const DELETE_FILED: &str = "DELETE FROM filed WHERE document_key = ?1 AND seq = ?2";

pub(super) const DELETE_FILED_ID: &str =
    "DELETE FROM filed_ids WHERE document_key = ?1 AND id = ?2";

pub(super) const TIMES: &str = r#"
SELECT created_at, coalesce(
    (SELECT deltas.created_at FROM recent JOIN deltas ON number = delta
        WHERE recent.document_key = key ORDER BY recent.seq DESC LIMIT 1), updated_at)
FROM documents WHERE key = ?1
"#;

pub(super) const FILED_CLOCK: &str =
    "SELECT client_id, counter FROM clocks WHERE document_key = ?1";

pub(super) const SNAPSHOT: &str =
    "SELECT seq, vector_clock, bytes FROM snapshots WHERE document_key = ?1";

/// No id is empty, so all are greater than the empty text.
pub(super) const DOCUMENT_IDS: &str = "SELECT id FROM documents WHERE id > ?1 ORDER BY id LIMIT ?2";

pub(super) const FILED_AFTER: &str = r#"
SELECT client_id, vector_clock, filed.seq, id, data, timestamp
FROM filed JOIN deltas ON number = delta
WHERE filed.document_key = ?1 AND filed.seq > ?2 ORDER BY filed.seq
"#;

/// As [`FILED_AFTER`]; all of these are numbered above all of those.
pub(super) const RECENT_AFTER: &str = r#"
SELECT client_id, vector_clock, recent.seq, id, data, timestamp
FROM recent JOIN deltas ON number = delta
WHERE recent.document_key = ?1 AND recent.seq > ?2 ORDER BY recent.seq
"#;

pub(super) const PING: &str = "SELECT count(*) FROM origin";

/// Needs room in the log and in the file, and leaves nothing there.
pub(super) const TRY_WRITE: &str = "CREATE TABLE try_write (bytes BLOB); \
    INSERT INTO try_write VALUES (zeroblob(20000)); DROP TABLE try_write";
