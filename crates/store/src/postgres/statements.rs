//! Every statement of the PostgreSQL back end. Each is prepared once per connection, unless a pooler
//! stands in between.
//!
//! Arrays stand for rows: one statement for a batch of any size is planned once and costs one
//! round trip.

use tokio_postgres::types::Type;

/// A statement with the types of its parameters, which spare a statement that isn't prepared the
/// question for them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statement {
    pub(super) text: &'static str,
    pub(super) types: &'static [Type],
}

/// The parameters of [`APPEND`].
const WRITTEN: &[Type] = &[
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
];

/// Locks the documents in the order of their ids, numbers the deltas from each one's head, merges
/// the clocks and moves the heads. Documents that aren't there are left out of the answer.
///
/// One statement rather than a transaction of several: it takes effect whole or not at all even
/// when its connection is dropped in the middle. After it has waited for a lock it sees the newest
/// version of the row (PostgreSQL re-reads a locked or updated row, not the rest of the snapshot),
/// which is all it reads. A repeated delta violates a unique key.
///
/// `NO KEY` is the lock that the update takes anyway. Parameters: documents with count of deltas
/// and merged clock of each; deltas with document, place, id, client, data, clock and timestamp.
pub(super) const APPEND: Statement = Statement {
    text: r#"
WITH locked AS MATERIALIZED (
    SELECT id, head_seq FROM documents
    WHERE id = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE
), stored AS (
    INSERT INTO deltas (document_id, seq, id, client_id, data, vector_clock, timestamp)
    SELECT locked.id, locked.head_seq + delta.place, delta.id, delta.client_id,
        delta.data::json, delta.clock::jsonb, delta.timestamp
    FROM unnest($4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::bigint[])
        AS delta (document_id, place, id, client_id, data, clock, timestamp)
    JOIN locked ON locked.id = delta.document_id
)
UPDATE documents SET
    head_seq = locked.head_seq + batch.added,
    vector_clock = documents.vector_clock || (
        SELECT coalesce(jsonb_object_agg(entry.key, greatest(
            entry.value::bigint, (documents.vector_clock ->> entry.key)::bigint)), '{}')
        FROM jsonb_each_text(batch.clock::jsonb) AS entry
    ),
    updated_at = clock_timestamp()
FROM locked
JOIN unnest($1::text[], $2::bigint[], $3::text[]) AS batch (id, added, clock)
    ON batch.id = locked.id
WHERE documents.id = locked.id
RETURNING documents.id, documents.epoch, documents.head_seq
"#,
    types: WRITTEN,
};

/// Makes those documents that aren't there, with their first deltas; the answer names them.
/// Parameters as of [`APPEND`].
pub(super) const CREATE_WITH_DELTAS: Statement = Statement {
    text: r#"
WITH created AS (
    INSERT INTO documents (id, head_seq, vector_clock)
    SELECT batch.id, batch.added, batch.clock::jsonb
    FROM unnest($1::text[], $2::bigint[], $3::text[]) AS batch (id, added, clock)
    ORDER BY batch.id COLLATE "C"
    ON CONFLICT (id) DO NOTHING
    RETURNING id, epoch, head_seq
), stored AS (
    INSERT INTO deltas (document_id, seq, id, client_id, data, vector_clock, timestamp)
    SELECT created.id, delta.place, delta.id, delta.client_id,
        delta.data::json, delta.clock::jsonb, delta.timestamp
    FROM unnest($4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::bigint[])
        AS delta (document_id, place, id, client_id, data, clock, timestamp)
    JOIN created ON created.id = delta.document_id
)
SELECT id, epoch, head_seq FROM created
"#,
    types: WRITTEN,
};

/// Keeps the documents as they are until the transaction ends.
pub(super) const LOCK: Statement = Statement {
    text: r#"
SELECT id, epoch, head_seq FROM documents
WHERE id = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE
"#,
    types: &[Type::TEXT_ARRAY],
};

/// Which of the deltas are there, as pairs of document and delta.
pub(super) const FIND_DELTAS: Statement = Statement {
    text: r#"
SELECT deltas.document_id, deltas.id, deltas.seq
FROM unnest($1::text[], $2::text[]) AS wanted (document_id, id)
JOIN deltas ON deltas.document_id = wanted.document_id AND deltas.id = wanted.id
"#,
    types: &[Type::TEXT_ARRAY, Type::TEXT_ARRAY],
};

/// One statement sees one moment: head, clock and snapshot belong together.
pub(super) const GET: Statement = Statement {
    text: r#"
SELECT epoch, head_seq, vector_clock::text, snapshot, snapshot_clock::text, snapshot_seq,
    created_at, updated_at
FROM documents WHERE id = $1::text
"#,
    types: &[Type::TEXT],
};

pub(super) const CREATE: Statement = Statement {
    text: r#"
INSERT INTO documents (id) VALUES ($1::text) ON CONFLICT (id) DO NOTHING
"#,
    types: &[Type::TEXT],
};

pub(super) const EXISTS: Statement =
    Statement { text: "SELECT 1 FROM documents WHERE id = $1::text", types: &[Type::TEXT] };

pub(super) const LOCK_FOR_DELETE: Statement = Statement {
    text: "SELECT 1 FROM documents WHERE id = $1::text FOR UPDATE",
    types: &[Type::TEXT],
};

pub(super) const DELETE_DELTAS: Statement =
    Statement { text: "DELETE FROM deltas WHERE document_id = $1::text", types: &[Type::TEXT] };

pub(super) const DELETE: Statement =
    Statement { text: "DELETE FROM documents WHERE id = $1::text", types: &[Type::TEXT] };

/// No id is empty, so all are greater than the empty text.
pub(super) const DOCUMENT_IDS: Statement = Statement {
    text: r#"
SELECT id FROM documents WHERE id > $1::text ORDER BY id LIMIT $2::bigint
"#,
    types: &[Type::TEXT, Type::INT8],
};

/// The deltas after a number, as long as the epoch is the one that is asked for: at most `$4` rows
/// and not many more than `$5` bytes, but one at least. Joined to the document so that its head
/// and its deltas are of one moment; a document without such deltas gives one row without a delta.
pub(super) const DELTAS_AFTER: Statement = Statement {
    text: r#"
SELECT documents.epoch, documents.head_seq, page.seq, page.id, page.client_id, page.data::text,
    page.vector_clock::text, page.timestamp
FROM documents LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT seq, id, client_id, data, vector_clock, timestamp,
            sum(pg_column_size(data)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING)
                - pg_column_size(data) AS bytes_before
        FROM deltas
        WHERE document_id = documents.id AND seq > $3::bigint AND documents.epoch = $2::bigint
        ORDER BY seq LIMIT $4::bigint
    ) AS counted WHERE bytes_before < $5::bigint
) AS page ON true
WHERE documents.id = $1::text ORDER BY page.seq
"#,
    types: &[Type::TEXT, Type::INT8, Type::INT8, Type::INT8, Type::INT8],
};

/// The deltas that the clock `$2` has not seen; all without one. Bounded as in [`DELTAS_AFTER`].
/// The clock stands in a subquery so that it is parsed once and not for each delta.
pub(super) const DELTAS_SINCE: Statement = Statement {
    text: r#"
SELECT seq, id, client_id, data::text, vector_clock::text, timestamp FROM (
    SELECT seq, id, client_id, data, vector_clock, timestamp,
        sum(pg_column_size(data)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING)
            - pg_column_size(data) AS bytes_before
    FROM deltas
    WHERE document_id = $1::text AND seq > $3::bigint AND ($2::text IS NULL OR EXISTS (
        SELECT FROM jsonb_each_text(vector_clock) AS entry
        WHERE entry.value::bigint
            > coalesce(((SELECT $2::text::jsonb) ->> entry.key)::bigint, 0)))
    ORDER BY seq LIMIT $4::bigint
) AS counted WHERE bytes_before < $5::bigint ORDER BY seq
"#,
    types: &[Type::TEXT, Type::TEXT, Type::INT8, Type::INT8, Type::INT8],
};

pub(super) const VECTOR_CLOCK: Statement = Statement {
    text: r#"
SELECT vector_clock::text FROM documents WHERE id = $1::text
"#,
    types: &[Type::TEXT],
};

/// `updated_at` stays: a snapshot changes nothing that a reader could see.
pub(super) const SAVE_SNAPSHOT: Statement = Statement {
    text: r#"
UPDATE documents SET snapshot = $4::bytea, snapshot_clock = $5::text::jsonb, snapshot_seq = $3
WHERE id = $1::text AND epoch = $2::bigint AND head_seq >= $3::bigint
    AND (snapshot_seq IS NULL OR snapshot_seq <= $3::bigint)
"#,
    types: &[Type::TEXT, Type::INT8, Type::INT8, Type::BYTEA, Type::TEXT],
};

pub(super) const SNAPSHOT: Statement = Statement {
    text: r#"
SELECT epoch, snapshot, snapshot_clock::text, snapshot_seq
FROM documents WHERE id = $1::text AND snapshot IS NOT NULL
"#,
    types: &[Type::TEXT],
};

/// From where to where compaction has to look: before the first delta, and the last one covered.
pub(super) const COMPACTION_RANGE: Statement = Statement {
    text: r#"
SELECT documents.epoch, documents.snapshot_seq, (
    SELECT seq - 1 FROM deltas WHERE document_id = documents.id ORDER BY seq LIMIT 1
) FROM documents WHERE id = $1::text
"#,
    types: &[Type::TEXT],
};

/// Removes the deltas numbered `$4` < seq ≤ `$5` that the clock `$3` has seen and the snapshot
/// covers.
pub(super) const COMPACT: Statement = Statement {
    text: r#"
DELETE FROM deltas USING documents
WHERE documents.id = $1::text AND documents.epoch = $2::bigint
    AND deltas.document_id = documents.id
    AND deltas.seq <= documents.snapshot_seq
    AND deltas.seq > $4::bigint AND deltas.seq <= $5::bigint
    AND ($6::timestamptz IS NULL OR deltas.created_at < $6::timestamptz)
    AND NOT EXISTS (
        SELECT FROM jsonb_each_text(deltas.vector_clock) AS entry
        WHERE entry.value::bigint
            > coalesce(((SELECT $3::text::jsonb) ->> entry.key)::bigint, 0))
"#,
    types: &[Type::TEXT, Type::INT8, Type::TEXT, Type::INT8, Type::INT8, Type::TIMESTAMPTZ],
};

/// Takes the claim if nobody holds it, its time is over, or it is the holder's own. What is long
/// over is swept out, so that the table stays as small as the number of claims in force.
pub(super) const CLAIM_COMPACTION: Statement = Statement {
    text: r#"
WITH swept AS (
    DELETE FROM compaction_claims
    WHERE expires_at < clock_timestamp() - interval '1 hour' AND document_id <> $1::text
)
INSERT INTO compaction_claims (document_id, holder, expires_at)
VALUES ($1::text, $2::text, clock_timestamp() + make_interval(secs => $3::float8))
ON CONFLICT (document_id) DO UPDATE
SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE compaction_claims.holder = excluded.holder
    OR compaction_claims.expires_at < clock_timestamp()
"#,
    types: &[Type::TEXT, Type::TEXT, Type::FLOAT8],
};

pub(super) const HEADS: Statement = Statement {
    text: r#"
SELECT id, epoch, head_seq FROM documents WHERE id = ANY($1::text[])
"#,
    types: &[Type::TEXT_ARRAY],
};

/// What the tables hold must survive the way there and back, and `MATERIALIZED` needs version 12.
pub(super) const SERVER: Statement = Statement {
    text: r#"
SELECT current_setting('server_version_num')::int, current_setting('server_encoding')
"#,
    types: &[],
};

pub(super) const PING: Statement = Statement { text: "SELECT 1", types: &[] };
