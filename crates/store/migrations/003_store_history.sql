-- Oldest program: 002
--
-- A position means something within one history of the database only. Another one begins when a
-- standby takes over that may lack what was committed last, which the timeline shows, and when an
-- operator says that a backup was put back: then the origin is drawn anew. Both go into every epoch
-- that the server reads, as origin + timeline * 2^32 + epoch.
CREATE TABLE store_origin (
    is_only_row BOOLEAN PRIMARY KEY DEFAULT true CHECK (is_only_row),
    number BIGINT NOT NULL DEFAULT
        ('x' || substr(md5(random()::text || clock_timestamp()::text), 1, 15))::bit(60)::bigint
);
INSERT INTO store_origin DEFAULT VALUES;

-- Services that are PostgreSQL to their clients only may lack these functions. What they do when a
-- server of theirs fails is their own secret then, and a backup is all that shows.
DO $do$
BEGIN
    PERFORM pg_walfile_name(pg_current_wal_insert_lsn());
    CREATE VIEW store_history (number) AS
    SELECT store_origin.number + (CASE WHEN pg_is_in_recovery() THEN 0 ELSE
        ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint
    END << 32)
    FROM store_origin;
EXCEPTION WHEN OTHERS THEN
    CREATE VIEW store_history (number) AS SELECT store_origin.number FROM store_origin;
END
$do$;

-- Which database this is: a copy of another has its origin, and is not it.
DO $do$
BEGIN
    PERFORM system_identifier FROM pg_control_system();
    CREATE VIEW store_place (system, database, tables, file) AS
    SELECT (SELECT system_identifier FROM pg_control_system()),
        (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
        'documents'::regclass::oid::bigint,
        coalesce(pg_relation_filenode('documents'::regclass)::bigint, 0);
EXCEPTION WHEN OTHERS THEN
    CREATE VIEW store_place (system, database, tables, file) AS
    SELECT 0::bigint,
        (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
        'documents'::regclass::oid::bigint,
        coalesce(pg_relation_filenode('documents'::regclass)::bigint, 0);
END
$do$;
