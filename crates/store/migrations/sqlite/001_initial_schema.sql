-- An epoch names one life of a document. It is the document's key plus this number, the time at
-- which the file was made: a client that knows a position in a file that was deleted must not take
-- it for one in the file that was made in its place.
CREATE TABLE origin (
    epoch_base INTEGER NOT NULL
) STRICT;

INSERT INTO origin (epoch_base) VALUES (CAST(unixepoch('subsec') * 1000 AS INTEGER));

-- An append writes two things: a row at the end of `deltas`, and an entry in `recent`, which is kept
-- small. Everything else that is known of a delta lies all over the file, a page for each document,
-- so it is written later, for many deltas of a document at once: they are filed.
--
-- What always holds, and for each document by itself:
--   1. Each delta has one entry, in `recent` or in `filed`.
--   2. `recent` has the numbers right after head_seq, without gaps, up to the document's head. So
--      the head is the greatest number in `recent`, or head_seq when there is none; and the last
--      write was at that delta's created_at, or at updated_at.
--   3. `filed_ids` has the ids of the deltas in `filed`, and of no others.
--   4. The document's clock is `clocks` merged with the clocks of the deltas in `recent`.
-- Compaction removes only deltas that are filed, so it takes nothing from head, times and clock.
CREATE TABLE documents (
    -- AUTOINCREMENT: a key is never given twice, so what is left of a deleted document never
    -- belongs to another one.
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    -- The number of the last delta that was filed; compaction may have removed that delta.
    head_seq INTEGER NOT NULL DEFAULT 0,
    -- All times in microseconds since 1970, but for the clients' own.
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- A table of its own: a document that many clients have written to has a large clock, of which an
-- edit changes one entry. Every delta that was ever filed, merged.
CREATE TABLE clocks (
    document_key INTEGER NOT NULL,
    client_id TEXT NOT NULL,
    counter INTEGER NOT NULL,
    PRIMARY KEY (document_key, client_id)
) STRICT, WITHOUT ROWID;

-- Apart from the documents, so that an edit does not rewrite a large row.
CREATE TABLE snapshots (
    document_key INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    vector_clock TEXT NOT NULL,
    bytes BLOB NOT NULL
) STRICT;

-- In the order in which they came, whatever their document.
CREATE TABLE deltas (
    -- Named, so that VACUUM keeps it.
    number INTEGER PRIMARY KEY,
    document_key INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    -- Recognises a repeat, within its document only. 32 hexadecimal digits in lower case, which
    -- is what most are, stand here as a blob of 16 bytes, all others as text.
    id ANY NOT NULL,
    client_id TEXT NOT NULL,
    data TEXT NOT NULL,
    -- An integer is the counter of client_id and the whole clock; otherwise the clock as JSON.
    vector_clock ANY NOT NULL,
    -- Milliseconds since 1970 by the client's clock.
    timestamp INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- The deltas that are not yet filed.
CREATE TABLE recent (
    document_key INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    delta INTEGER NOT NULL,
    PRIMARY KEY (document_key, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE filed (
    document_key INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    delta INTEGER NOT NULL,
    PRIMARY KEY (document_key, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE filed_ids (
    document_key INTEGER NOT NULL,
    id ANY NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (document_key, id)
) STRICT, WITHOUT ROWID;

-- Keys of deleted documents whose deltas are still to be removed, a few at a time.
CREATE TABLE removed_documents (
    key INTEGER PRIMARY KEY
) STRICT;
