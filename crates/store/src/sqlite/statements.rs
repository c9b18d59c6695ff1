//! Every statement of the SQLite back end but those of the schema. Each is prepared once per
//! connection.

pub(super) const EPOCH_BASE: &str = "SELECT epoch_base FROM origin";

pub(super) const FIND: &str = "SELECT key, head_seq FROM documents WHERE id = ?1";

pub(super) const CREATE: &str =
    "INSERT INTO documents (id, created_at, updated_at) VALUES (?1, ?2, ?2)";

/// Changes nothing when the document has a delta of this id.
pub(super) const ADD_DELTA: &str = r#"
INSERT INTO deltas
    (document_key, seq, id, client_id, data, vector_clock, timestamp, created_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (document_key, id) DO NOTHING
"#;

pub(super) const FIND_DELTA: &str = "SELECT seq FROM deltas WHERE document_key = ?1 AND id = ?2";

pub(super) const MOVE_HEAD: &str =
    "UPDATE documents SET head_seq = ?2, updated_at = ?3 WHERE key = ?1";

/// Never lowers a counter.
pub(super) const RAISE_CLOCK: &str = r#"
INSERT INTO clocks (document_key, client_id, counter) VALUES (?1, ?2, ?3)
ON CONFLICT (document_key, client_id) DO UPDATE SET counter = excluded.counter
WHERE excluded.counter > counter
"#;

pub(super) const DELETE_DOCUMENT: &str = "DELETE FROM documents WHERE key = ?1";

pub(super) const DELETE_SNAPSHOT: &str = "DELETE FROM snapshots WHERE document_key = ?1";

pub(super) const DELETE_CLOCK: &str = "DELETE FROM clocks WHERE document_key = ?1";

pub(super) const NOTE_REMOVED: &str = "INSERT INTO removed_documents (key) VALUES (?1)";

pub(super) const FIND_REMOVED: &str = "SELECT key FROM removed_documents LIMIT 1";

pub(super) const FORGET_REMOVED: &str = "DELETE FROM removed_documents WHERE key = ?1";

/// Some deltas of a deleted document, at most `?2`.
pub(super) const SWEEP: &str = r#"
DELETE FROM deltas WHERE rowid IN (
    SELECT rowid FROM deltas WHERE document_key = ?1 LIMIT ?2)
"#;

pub(super) const SNAPSHOT_SEQ: &str = "SELECT seq FROM snapshots WHERE document_key = ?1";

pub(super) const SAVE_SNAPSHOT: &str = r#"
INSERT OR REPLACE INTO snapshots (document_key, seq, vector_clock, bytes) VALUES (?1, ?2, ?3, ?4)
"#;

pub(super) const FIRST_SEQ_AFTER: &str =
    "SELECT seq FROM deltas WHERE document_key = ?1 AND seq > ?2 ORDER BY seq LIMIT 1";

/// Deltas numbered `?2` < seq ≤ `?3`.
pub(super) const CLOCKS_BETWEEN: &str = r#"
SELECT rowid, vector_clock FROM deltas WHERE document_key = ?1 AND seq > ?2 AND seq <= ?3
    AND created_at < ?4
"#;

pub(super) const DELETE_DELTA: &str = "DELETE FROM deltas WHERE rowid = ?1";

pub(super) const GET: &str =
    "SELECT key, head_seq, created_at, updated_at FROM documents WHERE id = ?1";

pub(super) const CLOCK: &str = "SELECT client_id, counter FROM clocks WHERE document_key = ?1";

pub(super) const SNAPSHOT: &str =
    "SELECT seq, vector_clock, bytes FROM snapshots WHERE document_key = ?1";

/// No id is empty, so all are greater than the empty text.
pub(super) const DOCUMENT_IDS: &str = "SELECT id FROM documents WHERE id > ?1 ORDER BY id LIMIT ?2";

pub(super) const DELTAS_AFTER: &str = r#"
SELECT seq, id, client_id, data, vector_clock, timestamp FROM deltas
WHERE document_key = ?1 AND seq > ?2 ORDER BY seq
"#;

pub(super) const PING: &str = "SELECT count(*) FROM origin";
