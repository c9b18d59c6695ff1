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
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
];

/// Moves the documents' heads, merges their clocks, and stores the deltas, numbered up to each head.
/// Documents that aren't there are left out of the answer.
///
/// One statement rather than a transaction of several: it takes effect whole or not at all even
/// when its connection is dropped in the middle. An update that has waited for a lock goes on with
/// the newest version of the row (PostgreSQL re-reads an updated row, not the rest of the
/// snapshot), which is all it reads. A repeated delta violates a unique key. Rows are locked in the
/// order of the first array; were it another order, two nodes might deadlock, which costs a retry.
///
/// Parameters: for each document id, count of deltas, and either client and counter, where that is
/// all there is to merge, or a clock; for each delta the place of its document, counted from 1, its
/// own place in it, its id, client, data, clock and timestamp.
pub(super) const APPEND: Statement = Statement {
    text: r#"
WITH moved AS (
    UPDATE documents SET
        head_seq = documents.head_seq + batch.added,
        vector_clock = documents.vector_clock || CASE WHEN batch.clock IS NULL
            THEN jsonb_build_object(batch.client_id, greatest(
                batch.counter, (documents.vector_clock ->> batch.client_id)::bigint))
            -- Unpacks the stored clock once rather than for each entry.
            ELSE (
                SELECT coalesce(jsonb_object_agg(entry.key, greatest(
                    entry.value::bigint, (stored.clock ->> entry.key)::bigint)), '{}')
                FROM (SELECT documents.vector_clock || '{}' AS clock OFFSET 0) AS stored,
                    jsonb_each_text(batch.clock::jsonb) AS entry
            ) END,
        updated_at = clock_timestamp()
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[])
        WITH ORDINALITY AS batch (id, added, client_id, counter, clock, at)
    WHERE documents.id = batch.id
    RETURNING batch.at, documents.id, documents.epoch, documents.head_seq,
        documents.head_seq - batch.added AS head_before
), stored AS (
    INSERT INTO deltas (document_id, seq, id, client_id, data, vector_clock, timestamp)
    SELECT moved.id, moved.head_before + delta.place, delta.id, delta.client_id,
        delta.data::json, delta.clock::jsonb, delta.timestamp
    FROM unnest($6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[],
            $12::bigint[])
        AS delta (at, place, id, client_id, data, clock, timestamp)
    JOIN moved ON moved.at = delta.at
)
SELECT id, epoch, head_seq FROM moved
"#,
    types: WRITTEN,
};

/// Makes those documents that aren't there, with their first deltas; the answer names them.
/// Parameters as of [`APPEND`].
pub(super) const CREATE_WITH_DELTAS: Statement = Statement {
    text: r#"
WITH batch AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[])
        WITH ORDINALITY AS batch (id, added, client_id, counter, clock, at)
), created AS (
    INSERT INTO documents (id, head_seq, vector_clock)
    SELECT id, added, coalesce(clock::jsonb, jsonb_build_object(client_id, counter))
    FROM batch ORDER BY id COLLATE "C"
    ON CONFLICT (id) DO NOTHING
    RETURNING id, epoch, head_seq
), stored AS (
    INSERT INTO deltas (document_id, seq, id, client_id, data, vector_clock, timestamp)
    SELECT created.id, delta.place, delta.id, delta.client_id,
        delta.data::json, delta.clock::jsonb, delta.timestamp
    FROM unnest($6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[],
            $12::bigint[])
        AS delta (at, place, id, client_id, data, clock, timestamp)
    JOIN batch ON batch.at = delta.at
    JOIN created ON created.id = batch.id
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

/// Comes first, and keeps everybody else away from the document and its name until the transaction
/// ends. One that has waited for another delete removes nothing, whatever life came after that.
pub(super) const DELETE: Statement =
    Statement { text: "DELETE FROM documents WHERE id = $1::text", types: &[Type::TEXT] };

/// No id is empty, so all are greater than the empty text.
pub(super) const DOCUMENT_IDS: Statement = Statement {
    text: r#"
SELECT id FROM documents WHERE id > $1::text ORDER BY id LIMIT $2::bigint
"#,
    types: &[Type::TEXT, Type::INT8],
};

/// The document, in a row of epoch and head, and its deltas after a number, as long as the epoch is
/// the one that is asked for: at most `$4` rows and not many more than `$5` bytes, but one at
/// least. One statement, so that all of it is of one moment. The rows come in no certain order.
///
/// Where the page ends by its bytes is only looked for, row by row, when the rows don't fit.
pub(super) const DELTAS_AFTER: Statement = Statement {
    text: r#"
SELECT epoch, head_seq, NULL::bigint AS seq, NULL::varchar AS id, NULL::varchar AS client_id,
    NULL::text AS data, NULL::text AS vector_clock, NULL::bigint AS timestamp
FROM documents WHERE id = $1::text
UNION ALL
SELECT NULL, NULL, seq, id, client_id, data::text, vector_clock::text, timestamp
FROM deltas
WHERE document_id = $1::text AND seq > $3::bigint
    AND EXISTS (SELECT FROM documents WHERE id = $1::text AND epoch = $2::bigint)
    AND seq <= (
        SELECT CASE WHEN bytes <= $5::bigint THEN last ELSE (
            SELECT max(seq) FROM (
                SELECT seq, sum(pg_column_size(data)) OVER (
                    ORDER BY seq ROWS UNBOUNDED PRECEDING) - pg_column_size(data) AS before
                FROM deltas WHERE document_id = $1::text AND seq > $3::bigint
                ORDER BY seq LIMIT $4::bigint
            ) AS counted WHERE before < $5::bigint
        ) END
        FROM (
            SELECT sum(pg_column_size(data)) AS bytes, max(seq) AS last FROM (
                SELECT seq, data FROM deltas
                WHERE document_id = $1::text AND seq > $3::bigint
                ORDER BY seq LIMIT $4::bigint
            ) AS rows
        ) AS whole
    )
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
