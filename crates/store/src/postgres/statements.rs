//! Every statement of the PostgreSQL back end. Each is prepared once per connection, unless a pooler
//! stands in between.
//!
//! Arrays stand for rows: one statement for a batch of any size is planned once and costs one
//! round trip.
//!
//! Every epoch that comes out of a statement or goes into one has the number of the history in it
//! (`store_history`): read in the same statement, so that no pooler can hide a server that took over.

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
    Type::INT8_ARRAY,
    Type::INT8_ARRAY,
    Type::TEXT_ARRAY,
    Type::TEXT_ARRAY,
    Type::JSON_ARRAY,
    Type::JSONB_ARRAY,
    Type::INT8_ARRAY,
];

/// Moves the documents' heads and stores the deltas, numbered up to each head. Documents that aren't
/// there are left out of the answer.
///
/// One statement rather than a transaction of several: it takes effect whole or not at all even
/// when its connection is dropped in the middle. An update that has waited for a lock goes on with
/// the newest version of the row (PostgreSQL re-reads an updated row, not the rest of the
/// snapshot), which is all it reads. A repeated delta violates a unique key. Rows are locked in the
/// order of the first array; were it another order, two nodes might deadlock, which costs a retry.
///
/// Parameters: for each document its id and count of deltas; for each delta the place of its
/// document, counted from 1, its own place in it, its id, client, data, clock and timestamp.
pub(super) const APPEND: Statement = Statement {
    text: r#"
WITH moved AS (
    UPDATE documents SET
        head_seq = documents.head_seq + batch.added,
        updated_at = clock_timestamp()
    FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS batch (id, added, at)
    WHERE documents.id = batch.id
    RETURNING batch.at, documents.id, documents.epoch, documents.head_seq,
        documents.head_seq - batch.added AS head_before
), stored AS (
    INSERT INTO deltas (document_id, seq, id, client_id, data, vector_clock, timestamp)
    SELECT moved.id, moved.head_before + delta.place, delta.id, delta.client_id,
        delta.data, delta.clock, delta.timestamp
    FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::json[], $8::jsonb[],
            $9::bigint[])
        AS delta (at, place, id, client_id, data, clock, timestamp)
    JOIN moved ON moved.at = delta.at
)
SELECT id, epoch + history.number, head_seq FROM moved, store_history AS history
"#,
    types: WRITTEN,
};

/// Makes those documents that aren't there, with their first deltas; the answer names them.
/// Parameters as of [`APPEND`].
pub(super) const CREATE_WITH_DELTAS: Statement = Statement {
    text: r#"
WITH batch AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS batch (id, added, at)
), created AS (
    INSERT INTO documents (id, head_seq)
    SELECT id, added FROM batch ORDER BY id COLLATE "C"
    ON CONFLICT (id) DO NOTHING
    RETURNING id, epoch, head_seq
), stored AS (
    INSERT INTO deltas (document_id, seq, id, client_id, data, vector_clock, timestamp)
    SELECT created.id, delta.place, delta.id, delta.client_id,
        delta.data, delta.clock, delta.timestamp
    FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::json[], $8::jsonb[],
            $9::bigint[])
        AS delta (at, place, id, client_id, data, clock, timestamp)
    JOIN batch ON batch.at = delta.at
    JOIN created ON created.id = batch.id
)
SELECT id, epoch + history.number, head_seq FROM created, store_history AS history
"#,
    types: WRITTEN,
};

/// Keeps the documents as they are until the transaction ends.
pub(super) const LOCK: Statement = Statement {
    text: r#"
SELECT id, epoch + (SELECT number FROM store_history), head_seq FROM documents
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

/// Deltas of documents that aren't there. Those of one that is made at this moment are not seen yet.
pub(super) const DELETE_ORPHANS: Statement = Statement {
    text: r#"
DELETE FROM deltas WHERE document_id = ANY($1::text[])
    AND NOT EXISTS (SELECT FROM documents WHERE documents.id = deltas.document_id)
"#,
    types: &[Type::TEXT_ARRAY],
};

/// Which of the documents have deltas above their heads.
pub(super) const BEYOND_HEAD: Statement = Statement {
    text: r#"
SELECT wanted.id FROM unnest($1::text[]) AS wanted (id)
LEFT JOIN documents ON documents.id = wanted.id
WHERE EXISTS (
    SELECT FROM deltas WHERE document_id = wanted.id AND seq > coalesce(documents.head_seq, 0))
"#,
    types: &[Type::TEXT_ARRAY],
};

/// One statement sees one moment: head and snapshot belong together. There is a row whether the
/// document is there or not, since it says in which history it is not.
pub(super) const GET: Statement = Statement {
    text: r#"
SELECT documents.epoch + history.number, head_seq, snapshot, snapshot_clock::text, snapshot_seq,
    created_at, updated_at, history.number
FROM store_history AS history LEFT JOIN documents ON documents.id = $1::text
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

/// Comes after [`DELETE`], as a statement of its own: so it sees the deltas of those that the other
/// one has waited for. Where that one removed nothing, a document that is there is another life,
/// which keeps what it has.
pub(super) const DELETE_DELTAS: Statement = Statement {
    text: r#"
DELETE FROM deltas
WHERE document_id = $1::text AND NOT EXISTS (SELECT FROM documents WHERE id = $1::text)
"#,
    types: &[Type::TEXT],
};

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
SELECT epoch + (SELECT number FROM store_history), head_seq,
    NULL::bigint AS seq, NULL::varchar AS id, NULL::varchar AS client_id,
    NULL::text AS data, NULL::text AS vector_clock, NULL::bigint AS timestamp
FROM documents WHERE id = $1::text
UNION ALL
SELECT NULL, NULL, seq, id, client_id, data::text, vector_clock::text, timestamp
FROM deltas
WHERE document_id = $1::text AND seq > $3::bigint
    AND EXISTS (
        SELECT FROM documents, store_history AS history
        WHERE id = $1::text AND epoch = $2::bigint - history.number)
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
SELECT vector_clock::text FROM document_clocks WHERE document_id = $1::text
"#,
    types: &[Type::TEXT],
};

/// Brings the document's clock up to the snapshot too. The snapshot's clock `$5` has all that the
/// deltas up to `$3` have seen, so each of its entries is the newer one unless the stored clock covers
/// more deltas. `updated_at` stays: a snapshot changes nothing that a reader could see.
pub(super) const SAVE_SNAPSHOT: Statement = Statement {
    text: r#"
UPDATE documents SET snapshot = $4::bytea, snapshot_clock = $5::text::jsonb, snapshot_seq = $3,
    clock_seq = greatest(clock_seq, $3::bigint),
    vector_clock = CASE WHEN clock_seq > $3::bigint THEN vector_clock
        ELSE vector_clock || $5::text::jsonb END
WHERE id = $1::text AND epoch = $2::bigint - (SELECT number FROM store_history)
    AND head_seq >= $3::bigint
    AND (snapshot_seq IS NULL OR snapshot_seq <= $3::bigint)
"#,
    types: &[Type::TEXT, Type::INT8, Type::INT8, Type::BYTEA, Type::TEXT],
};

pub(super) const SNAPSHOT: Statement = Statement {
    text: r#"
SELECT epoch + (SELECT number FROM store_history), snapshot, snapshot_clock::text, snapshot_seq
FROM documents WHERE id = $1::text AND snapshot IS NOT NULL
"#,
    types: &[Type::TEXT],
};

/// From where to where compaction has to look: before the first delta, and the last one that both
/// the snapshot and the stored clock cover. Nothing without a snapshot.
pub(super) const COMPACTION_RANGE: Statement = Statement {
    text: r#"
SELECT documents.epoch + (SELECT number FROM store_history), least(documents.snapshot_seq, documents.clock_seq), (
    SELECT seq - 1 FROM deltas WHERE document_id = documents.id ORDER BY seq LIMIT 1
) FROM documents WHERE id = $1::text AND snapshot_seq IS NOT NULL
"#,
    types: &[Type::TEXT],
};

/// Removes the deltas numbered `$4` < seq ≤ `$5` that the clock `$3` has seen and both the snapshot
/// and the stored clock cover. The snapshot's own clock has seen all of those; for another one each is
/// looked at, which takes as long as to remove it.
pub(super) const COMPACT: Statement = Statement {
    text: r#"
DELETE FROM deltas
WHERE document_id = $1::text AND seq > $4::bigint
    AND seq <= (
        SELECT least($5::bigint, snapshot_seq, clock_seq) FROM documents
        WHERE id = $1::text AND epoch = $2::bigint - (SELECT number FROM store_history)
            AND snapshot_seq IS NOT NULL)
    AND ($6::timestamptz IS NULL OR created_at < $6::timestamptz)
    AND ((SELECT snapshot_clock = $3::text::jsonb FROM documents WHERE id = $1::text)
        OR NOT EXISTS (
            SELECT FROM jsonb_each_text(vector_clock) AS entry
            WHERE entry.value::bigint
                > coalesce(((SELECT $3::text::jsonb) ->> entry.key)::bigint, 0)))
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
SELECT id, epoch + (SELECT number FROM store_history), head_seq
FROM documents WHERE id = ANY($1::text[])
"#,
    types: &[Type::TEXT_ARRAY],
};

/// What the tables hold must survive the way there and back, and `MATERIALIZED` needs version 12.
pub(super) const SERVER: Statement = Statement {
    text: r#"
SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
    current_setting('fsync') = 'on', current_setting('synchronous_commit') <> 'off'
"#,
    types: &[],
};

/// In which history the database is, and which database it is.
pub(super) const IDENTITY: Statement = Statement {
    text: r#"
SELECT history.number, place.system, place.database, place.tables, place.file
FROM store_history AS history, store_place AS place
"#,
    types: &[],
};

/// Draws the origin anew, unless the history is another than `$1` by now.
pub(super) const BEGIN_HISTORY: Statement = Statement {
    text: r#"
UPDATE store_origin SET number = DEFAULT
WHERE (SELECT number FROM store_history) = $1::bigint
"#,
    types: &[Type::INT8],
};

/// What appends need: a server that takes writes, the tables, and rights. Reads no table of ours.
pub(super) const LOOK: Statement = Statement {
    text: r#"
WITH needed (name, action) AS (
    VALUES ('documents', 'SELECT'), ('documents', 'INSERT'), ('documents', 'UPDATE'),
        ('deltas', 'SELECT'), ('deltas', 'INSERT')
)
SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
    (SELECT string_agg(DISTINCT name, ', ') FROM needed WHERE to_regclass(name) IS NULL),
    (SELECT string_agg(action || ' on ' || name, ', ') FROM needed
    WHERE NOT has_table_privilege(to_regclass(name), action))
"#,
    types: &[],
};

/// As durable as an append, and as large as one that needs a page of its own now and then. No
/// document has this name, and nobody sees the row: it is taken back before the commit.
pub(super) const TRY_WRITE: Statement = Statement {
    text: r#"
INSERT INTO deltas (document_id, seq, id, client_id, data, vector_clock, timestamp)
VALUES ('', $1, $2::bigint::text, '', to_json(repeat('x', 1900)), '{}', 0)
"#,
    types: &[Type::INT8, Type::INT8],
};
