-- Every primary and unique key starts with the document's id, so that the tables can be
-- hash-partitioned or distributed by it without a rewrite.

-- An epoch names one life of a document: one that is deleted and made again gets another.
CREATE SEQUENCE document_epochs AS BIGINT;

CREATE TABLE documents (
    -- COLLATE "C": listings page through ids in byte order, whatever the database's locale.
    id VARCHAR(256) COLLATE "C" PRIMARY KEY,
    vector_clock JSONB NOT NULL DEFAULT '{}',
    snapshot BYTEA,
    snapshot_clock JSONB,
    snapshot_seq BIGINT,
    epoch BIGINT NOT NULL DEFAULT nextval('document_epochs'),
    -- The number of the last delta. Numbers are given under the lock of this row, so they have no
    -- gaps and follow the order of commits; a sequence promises neither.
    head_seq BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CHECK ((snapshot IS NULL) = (snapshot_seq IS NULL)),
    CHECK ((snapshot IS NULL) = (snapshot_clock IS NULL)),
    CHECK (snapshot_seq <= head_seq)
)
-- Every batch updates these rows. No column that it changes is in an index and each page keeps
-- room, so the new version stays on its page and touches no index.
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE deltas (
    document_id VARCHAR(256) COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    -- Recognises a repeat, within its document only: clients have a part in it, so two documents
    -- may well have the same.
    id VARCHAR(255) COLLATE "C" NOT NULL,
    client_id VARCHAR(255) COLLATE "C" NOT NULL,
    -- JSON keeps the text; JSONB would refuse "\u0000" and rewrite numbers and key order.
    data JSON NOT NULL,
    vector_clock JSONB NOT NULL,
    timestamp BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (document_id, seq),
    UNIQUE (document_id, id)
);

-- There is no index on (document_id) because both keys above start with it, and none on
-- (document_id, timestamp) because nothing reads in the order of timestamps, which clients choose.

-- Uncompressed: large values are sent to every reader, and the size of a page of them is known
-- without reading them.
ALTER TABLE deltas ALTER COLUMN data SET STORAGE EXTERNAL;

-- Which node compacts which document, so that not all of them do at once. Apart from the documents,
-- whose rows every edit locks. Unlogged: a claim that a crash forgets costs double work at most.
CREATE UNLOGGED TABLE compaction_claims (
    document_id VARCHAR(256) COLLATE "C" PRIMARY KEY,
    holder VARCHAR(255) NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);
