-- An epoch names one life of a document. It is the document's key plus this number, the time at
-- which the file was made: a client that knows a position in a file that was deleted must not take
-- it for one in the file that was made in its place.
CREATE TABLE origin (
    epoch_base INTEGER NOT NULL
) STRICT;

INSERT INTO origin (epoch_base) VALUES (CAST(unixepoch('subsec') * 1000 AS INTEGER));

CREATE TABLE documents (
    -- AUTOINCREMENT: a key is never given twice, so what is left of a deleted document never
    -- belongs to another one.
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    -- The number of the last delta; compaction may have removed that delta.
    head_seq INTEGER NOT NULL DEFAULT 0,
    -- All times in microseconds since 1970, but for the clients' own.
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- A table of its own: a document that many clients have written to has a large clock, of which an
-- edit changes one entry.
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

-- With a rowid: rows are added at the end, whatever their document, and only the small entries of
-- the indexes go to places all over the file.
CREATE TABLE deltas (
    document_key INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    -- Recognises a repeat, within its document only.
    id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    data TEXT NOT NULL,
    vector_clock TEXT NOT NULL,
    -- Milliseconds since 1970 by the client's clock.
    timestamp INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX deltas_by_seq ON deltas (document_key, seq);
CREATE UNIQUE INDEX deltas_by_id ON deltas (document_key, id);

-- Keys of deleted documents whose deltas are still to be removed, a few at a time.
CREATE TABLE removed_documents (
    key INTEGER PRIMARY KEY
) STRICT;
