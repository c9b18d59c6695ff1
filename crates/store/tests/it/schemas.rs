//! Data of earlier versions, and schemas of later ones. `tests/fixtures/README.md` says where the
//! files come from.

use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::TryStreamExt;
use synckit_engine::clock::{EditNumber, VectorClock};
use synckit_engine::delta::{Delta, DeltaId, WriteKey};
use synckit_engine::document::Document;
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::{Position, Seq};
use synckit_engine::snapshot::Snapshot;
use synckit_store::memory::MemoryProvider;
use synckit_store::migrations::Migration;
use synckit_store::sqlite::migrate::{MIGRATIONS, Migrator};
use synckit_store::{
    Append, DocumentStore, NumberedDelta, OpenError, StorageProvider, StoredSnapshot, stream,
};
use synckit_testkit::Postgres;

use crate::postgres::provider;
use crate::sqlite::{document, open_file};

const POSTGRES_VERSION_1: &str = include_str!("../fixtures/postgresql-version-1.sql");
const POSTGRES_VERSION_2: &str = include_str!("../fixtures/postgresql-version-2.sql");
const SQLITE_VERSION_1: &str = include_str!("../fixtures/sqlite-version-1.sql");

/// Names a directory: the fixtures of the current schema are written there.
const WRITE_VARIABLE: &str = "SYNCKIT_STORE_WRITE_FIXTURES";

/// A document without what differs from store to store: epochs and times.
#[derive(Debug, PartialEq)]
struct Content {
    id: DocumentId,
    head: Seq,
    clock: VectorClock,
    snapshot: Option<(Seq, VectorClock, Document)>,
    deltas: Vec<NumberedDelta>,
}

fn edit(client: &str, number: u64, data: &str) -> Delta {
    let client = ClientId::new(client).expect("a client id");
    let changes = Delta::parse_data(data).expect("data");
    let timestamp = 1_700_000_000_000 + number;
    Delta::of(&WriteKey { timestamp, number: EditNumber(number), client }, changes)
}

/// What the fixtures hold: a document without edits, one with odd but allowed data, and one that
/// was compacted and written since.
async fn fill(store: &dyn DocumentStore) {
    store.get_or_create(&document("empty")).await.expect("get_or_create");
    let odd = vec![
        edit("ann", 1, r#"{"a":"\u0000","b":"\ud800","c":"é日","d":1e400,"e":-0.0}"#),
        edit("bob \"b\" 日", 7, r#"{"z":{"b":1,"a":2},"":null,"it's":[ 1 ]}"#),
        Delta { id: DeltaId::new("m-1"), ..edit("ann", 2, r#"{"a":{"__deleted":true}}"#) },
        edit("ann", 1 << 48, "{}"),
    ];
    let plain: Vec<Delta> =
        (1..=6).map(|number| edit("ann", number, r#"{"title":"text"}"#)).collect();
    let compacted = document("compacted");
    let batch = [
        Append { document: document("odd"), deltas: odd },
        Append { document: compacted.clone(), deltas: plain.clone() },
    ];
    let appended = store.append(&batch).await.expect("append");
    let mut snapshot = Snapshot {
        position: Position { epoch: appended[1].epoch, seq: Seq(4) },
        document: Document::new(),
    };
    for delta in plain.iter().take(4) {
        snapshot.document.apply(delta);
    }
    let clock = snapshot.document.clock().clone();
    let bytes = snapshot.encode().expect("encode");
    let stored = StoredSnapshot { bytes, clock: clock.clone(), position: snapshot.position };
    assert!(store.save_snapshot(&compacted, &stored).await.expect("save_snapshot"));
    assert_eq!(store.compact(&compacted, &clock, None).await.expect("compact"), 4);
}

async fn content(store: &dyn DocumentStore) -> Vec<Content> {
    let ids: Vec<DocumentId> = stream::document_ids(store).try_collect().await.expect("ids");
    let mut content = Vec::new();
    for id in ids {
        let record = store.get(&id).await.expect("get").expect("a record");
        assert!(record.created_at <= record.updated_at);
        let deltas = stream::deltas(store, &id, None).try_collect().await.expect("deltas");
        let snapshot = record.snapshot.map(|stored| {
            let snapshot = Snapshot::decode(&stored.bytes).expect("a snapshot");
            (stored.position.seq, stored.clock, snapshot.document)
        });
        let clock = store.vector_clock(&id).await.expect("vector_clock");
        content.push(Content { id, head: record.head.seq, clock, snapshot, deltas });
    }
    content
}

/// The data of an upgraded database is what its fixture was made with, and it goes on from there.
///
/// In the fixtures' rows the clocks of two deltas name another client besides their own. Nothing
/// writes such clocks now, but a document's clock takes them in.
async fn check_upgraded(store: &dyn DocumentStore) {
    check(store, Some(("carl", EditNumber(9)))).await;
}

/// The same of what this program writes.
async fn check_written(store: &dyn DocumentStore) {
    check(store, None).await;
}

async fn check(store: &dyn DocumentStore, also_seen: Option<(&str, EditNumber)>) {
    let memory = MemoryProvider::new();
    fill(memory.documents()).await;
    assert_eq!(content(store).await, known(&memory, also_seen).await);

    let again = [Append {
        document: document("compacted"),
        deltas: vec![edit("ann", 6, r#"{"title":"text"}"#), edit("ann", 7, r#"{"title":"text"}"#)],
    }];
    let [here, there] = [store, memory.documents()].map(|store| store.append(&again));
    let (here, there) = (here.await.expect("append"), there.await.expect("append"));
    assert_eq!(here[0].deliveries, there[0].deliveries, "repeats are known, numbers go on");
    assert_eq!(content(store).await, known(&memory, also_seen).await);
}

async fn known(memory: &MemoryProvider, also_seen: Option<(&str, EditNumber)>) -> Vec<Content> {
    let mut content = content(memory.documents()).await;
    if let Some((name, number)) = also_seen {
        let odd = content.iter_mut().find(|content| content.id == document("odd")).expect("odd");
        odd.clock.raise(&ClientId::new(name).expect("a client id"), number);
    }
    content
}

#[tokio::test]
async fn a_postgresql_database_of_version_1_is_upgraded_and_read() {
    check_postgres_fixture(POSTGRES_VERSION_1, "001_initial_schema").await;
}

/// What an operator may do with a large table.
const PARTITION: &str = "SET search_path = public;
    ALTER TABLE deltas RENAME TO whole;
    CREATE TABLE deltas (LIKE whole INCLUDING DEFAULTS) PARTITION BY HASH (document_id);
    CREATE TABLE deltas_0 PARTITION OF deltas FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE deltas_1 PARTITION OF deltas FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO deltas SELECT * FROM whole;
    DROP TABLE whole;
    ALTER TABLE deltas ADD PRIMARY KEY (document_id, seq),
        ADD CONSTRAINT deltas_document_id_id_key UNIQUE (document_id, id);";

#[tokio::test]
async fn a_partitioned_postgresql_table_is_upgraded_and_read() {
    check_postgres_fixture(&format!("{POSTGRES_VERSION_1}{PARTITION}"), "001_initial_schema").await;
}

#[tokio::test]
async fn a_postgresql_database_of_version_2_is_upgraded_and_read() {
    check_postgres_fixture(POSTGRES_VERSION_2, "002_clocks_and_ids").await;
}

async fn check_postgres_fixture(fixture: &str, version: &str) {
    let database = Postgres::shared().await.create_database().await;
    database.execute(fixture).await;
    let provider = provider(&database);
    let status = provider.migrator().status().await.expect("status");
    assert_eq!(status.applied.last().expect("a version").version, version);
    provider.migrator().run().await.expect("run");
    assert_eq!(provider.migrator().plan().await.expect("plan"), []);
    provider.initialize().await.expect("initialize");
    check_upgraded(provider.documents()).await;
}

#[tokio::test]
async fn a_sqlite_file_of_version_1_is_upgraded_and_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(SQLITE_VERSION_1).unwrap();
    let status = Migrator::new(&path).status().await.unwrap();
    assert_eq!(status.applied[0].version, "001_initial_schema");
    Migrator::new(&path).run().await.unwrap();
    assert_eq!(Migrator::new(&path).plan().await.unwrap(), []);
    check_upgraded(open_file(&path).await.unwrap().documents()).await;
}

#[tokio::test]
async fn the_current_program_writes_what_the_fixtures_hold() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let file = open_file(&path).await.unwrap();
    fill(file.documents()).await;
    drop(file);
    check_dump_is_whole(&path).await;

    let database = Postgres::shared().await.create_database().await;
    let in_database = provider(&database);
    in_database.initialize().await.unwrap();
    fill(in_database.documents()).await;

    if let Some(target) = std::env::var_os(WRITE_VARIABLE).map(PathBuf::from) {
        std::fs::write(target.join("sqlite.sql"), sqlite_dump(&path)).unwrap();
        let output = Command::new("pg_dump")
            .args(["--inserts", "--no-owner", "--no-privileges", "--dbname", &database.url()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        // Comments, and commands to psql that the server would not understand.
        let is_sql = |line: &&str| !line.starts_with("--") && !line.starts_with('\\');
        let lines = text.lines().filter(is_sql).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        std::fs::write(target.join("postgresql.sql"), lines.join("\n") + "\n").unwrap();
    }
    check_written(in_database.documents()).await;
}

/// The file as SQL text, which makes the same file again.
fn sqlite_dump(path: &Path) -> String {
    let connection = rusqlite::Connection::open(path).expect("a file");
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).expect("a statement");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("texts")
    };
    let own = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'";
    let mut lines: Vec<String> =
        texts(own).iter().map(|statement| format!("{statement};")).collect();
    for table in texts("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rootpage") {
        if table == "sqlite_sequence" {
            // Made with the first table that has a row in it.
            lines.push("DELETE FROM sqlite_sequence;".to_owned());
        }
        let columns = texts(&format!("SELECT name FROM pragma_table_info('{table}')"));
        let quoted: Vec<String> =
            columns.iter().map(|column| format!("quote(\"{column}\")")).collect();
        let row = quoted.join(" || ',' || ");
        for row in texts(&format!("SELECT {row} FROM \"{table}\"")) {
            lines.push(format!("INSERT INTO \"{table}\" VALUES ({row});"));
        }
    }
    let mark = texts("SELECT CAST(application_id AS TEXT) FROM pragma_application_id");
    lines.push(format!("PRAGMA application_id = {};", mark[0]));
    lines.join("\n") + "\n"
}

/// What the dump makes is a file like the one it was made from.
async fn check_dump_is_whole(path: &Path) {
    let copy = path.with_extension("copy");
    let dump = sqlite_dump(path);
    let file = rusqlite::Connection::open(&copy).expect("a file");
    file.execute_batch(&dump).expect("what a dump says");
    drop(file);
    assert_eq!(sqlite_dump(&copy), dump);
    check_written(open_file(&copy).await.expect("open").documents()).await;
}

#[tokio::test]
async fn a_sqlite_schema_is_planned_applied_and_refused_by_name() {
    const NEXT: Migration = Migration { version: "002_next", sql: "CREATE TABLE next (id) " };
    const EDITED: Migration = Migration { sql: "SELECT 1", ..MIGRATIONS[0] };
    const LATER: &[Migration] = &[MIGRATIONS[0], NEXT];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let migrator = Migrator::new(&path);
    assert_eq!(migrator.plan().await.unwrap(), MIGRATIONS);
    assert!(!path.try_exists().unwrap(), "a plan makes no file");
    assert_eq!(migrator.run().await.unwrap(), MIGRATIONS);
    assert_eq!(migrator.run().await.unwrap(), []);

    let user = open_file(&path).await.unwrap();
    assert_eq!(migrator.status().await.unwrap().pending, [], "beside the one who uses it");
    let error = migrator.run().await.unwrap_err();
    assert!(error.to_string().contains("another process uses this file"), "{error}");
    drop(user);

    let later = migrator.clone().with_migrations(LATER);
    assert_eq!(later.plan().await.unwrap(), [NEXT]);
    assert_eq!(later.run().await.unwrap(), [NEXT]);
    let edited = migrator.clone().with_migrations(&[EDITED, NEXT]);
    for (migrator, expected) in [
        (&migrator, "002_next, which this program does not know"),
        (&edited, "001_initial_schema was changed"),
    ] {
        for error in [
            migrator.status().await.unwrap_err(),
            migrator.plan().await.unwrap_err(),
            migrator.run().await.unwrap_err(),
        ] {
            assert!(matches!(error, OpenError::Schema(_)), "{error:?}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
    let error = open_file(&path).await.unwrap_err();
    assert!(error.to_string().contains("002_next"), "{error}");
}

#[tokio::test]
async fn a_file_of_another_program_has_no_status() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    std::fs::write(&path, "no database").unwrap();
    let error = Migrator::new(&path).status().await.unwrap_err();
    assert!(error.to_string().contains("was made by another program"), "{error}");
    let absent = directory.path().join("absent").join("test.db");
    let error = Migrator::new(absent).status().await.unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
}

#[tokio::test]
async fn columns_and_tables_of_a_later_version_disturb_no_store_that_is_open() {
    let database = Postgres::shared().await.create_database().await;
    let provider = provider(&database);
    provider.initialize().await.unwrap();
    let store = provider.documents();
    fill(store).await;
    let before = content(store).await;
    let next = Migration {
        version: "004_next",
        sql: "ALTER TABLE documents ADD COLUMN note TEXT; \
            ALTER TABLE deltas ADD COLUMN origin TEXT NOT NULL DEFAULT 'unknown'",
    };
    let known = synckit_store::postgres::migrate::MIGRATIONS;
    let later: &'static [Migration] = [known, &[next]].concat().leak();
    assert_eq!(provider.migrator().with_migrations(later).run().await.unwrap(), [next]);
    assert_eq!(content(store).await, before);
    check_written(store).await;
    let error = provider.initialize().await.unwrap_err();
    assert!(error.to_string().contains("004_next, which this program does not know"), "{error}");
}
