-- Whoever writes locks documents before deltas, so this does too. Reading goes on while the index is
-- built; what comes after that keeps it waiting for a moment.
LOCK TABLE documents IN EXCLUSIVE MODE;
LOCK TABLE deltas IN EXCLUSIVE MODE;

-- The ids come first in the key that recognises repeats. They begin with the time, but for those of
-- edits without a number, so what is written now stands on a few pages at its end, however many
-- documents are written to. With the document in front it was a page for each of them, which the log
-- holds whole after every checkpoint. An index, since a partitioned table takes none for a constraint.
CREATE UNIQUE INDEX deltas_id_document_id_key ON deltas (id, document_id);
ALTER TABLE deltas DROP CONSTRAINT deltas_document_id_id_key;

-- A clock names every client that ever wrote to its document. Rewritten with every commit it would
-- cost the more the older a document is, so it is brought up to date with snapshots only. That it
-- covers more than this says, as here, does no harm.
ALTER TABLE documents ADD COLUMN clock_seq BIGINT NOT NULL DEFAULT 0;

COMMENT ON COLUMN documents.vector_clock IS
    'what the deltas up to clock_seq have seen; the view document_clocks has all of it';
COMMENT ON COLUMN documents.clock_seq IS
    'the last delta that vector_clock covers; compaction removes none behind it';

-- What all deltas of a document have seen.
CREATE VIEW document_clocks (document_id, vector_clock) AS
SELECT id, (
    SELECT coalesce(jsonb_object_agg(client, counter), '{}')
    FROM (
        SELECT entry.key AS client, max(entry.value::bigint) AS counter
        FROM (
            SELECT documents.vector_clock AS clock
            UNION ALL
            SELECT deltas.vector_clock FROM deltas
            WHERE deltas.document_id = documents.id AND deltas.seq > documents.clock_seq
        ) AS clocks, jsonb_each_text(clocks.clock) AS entry
        GROUP BY entry.key
    ) AS merged
)
FROM documents;
