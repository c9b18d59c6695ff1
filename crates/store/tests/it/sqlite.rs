use std::path::{Path, PathBuf};

use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Delta, DeltaId};
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::{Position, Seq};
use synckit_store::conformance;
use synckit_store::sqlite::{SqliteOptions, SqliteProvider};
use synckit_store::{
    Append, Cause, Delivery, DeltaPage, DocumentStore, Durability, OpenError, StorageProvider,
};
use tempfile::TempDir;

struct Opened {
    provider: SqliteProvider,
    /// Removed last, with the file closed.
    _directory: TempDir,
}

impl Opened {
    fn store(&self) -> &dyn DocumentStore {
        self.provider.documents()
    }

    /// Two processes never have one file; within one, all use the same store.
    fn other(&self) -> &dyn DocumentStore {
        self.provider.documents()
    }
}

async fn open() -> Opened {
    let directory = tempfile::tempdir().expect("a directory");
    let provider = open_file(&directory.path().join("test.db")).await.expect("initialize");
    Opened { provider, _directory: directory }
}

pub(crate) async fn open_file(path: &Path) -> Result<SqliteProvider, OpenError> {
    let provider = SqliteProvider::new(SqliteOptions::new(path));
    provider.initialize().await.map(|()| provider)
}

pub(crate) fn document(name: &str) -> DocumentId {
    DocumentId::new(name).expect("a document id")
}

pub(crate) fn delta(client: &str, counter: u64, text: &str) -> Delta {
    let client = ClientId::new(client).expect("a client id");
    Delta {
        id: DeltaId::new(&format!("{client}-{counter}")),
        number: EditNumber(counter),
        client,
        timestamp: 1,
        changes: Delta::parse_data(&format!(r#"{{"field":"{text}"}}"#)).expect("data"),
    }
}

pub(crate) fn part(document: &DocumentId, deltas: Vec<Delta>) -> Vec<Append> {
    vec![Append { document: document.clone(), deltas }]
}

synckit_store::conformance_tests!(open);

/// What the schema says of its tables, each as a question for rows that break it.
pub(crate) fn check_tables(path: &Path) {
    let connection = rusqlite::Connection::open(path).expect("the file");
    for (rule, broken) in [
        (
            "each delta has one entry",
            "SELECT document_key, seq FROM deltas WHERE (SELECT count(*) FROM
                (SELECT * FROM recent UNION ALL SELECT * FROM filed) AS entry
                WHERE delta = number AND entry.document_key = deltas.document_key
                    AND entry.seq = deltas.seq) <> 1",
        ),
        (
            "each entry has a delta",
            "SELECT document_key, seq FROM (SELECT * FROM recent UNION ALL SELECT * FROM filed)
                WHERE delta NOT IN (SELECT number FROM deltas)",
        ),
        (
            "recent numbers follow the filed head without gaps",
            "SELECT key, head_seq FROM documents JOIN recent ON document_key = key GROUP BY key
                HAVING min(seq) <> head_seq + 1 OR max(seq) <> head_seq + count(*)",
        ),
        (
            "filed numbers are at most the filed head",
            "SELECT key, seq FROM documents JOIN filed ON document_key = key WHERE seq > head_seq",
        ),
        (
            "the ids of filed deltas and no others",
            "SELECT document_key, seq FROM (
                SELECT document_key, id, seq FROM filed_ids UNION ALL
                SELECT deltas.document_key, id, deltas.seq
                    FROM filed JOIN deltas ON number = delta)
                GROUP BY document_key, id, seq HAVING count(*) <> 2",
        ),
        (
            "the clock covers what is filed",
            "SELECT filed.document_key, filed.seq
                FROM filed JOIN deltas ON number = delta
                    JOIN documents ON documents.key = filed.document_key,
                    json_each(iif(typeof(vector_clock) = 'text', vector_clock,
                        json_object(client_id, vector_clock))) AS entry
                WHERE entry.value > coalesce((SELECT counter FROM clocks
                    WHERE document_key = documents.key AND clocks.client_id = entry.key), 0)",
        ),
    ] {
        let mut statement = connection.prepare(broken).expect(rule);
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect(rule);
        let rows: Vec<(i64, i64)> = rows.collect::<Result<_, _>>().expect(rule);
        assert!(rows.is_empty(), "{rule}: {rows:?}");
    }
}

#[tokio::test]
async fn whenever_deltas_are_filed_the_answers_are_the_same() {
    for recent_max in [0, 1, 5, 30, usize::MAX] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let options = SqliteOptions { recent_max, ..SqliteOptions::new(&path) };
        let provider = SqliteProvider::new(options);
        provider.initialize().await.unwrap();
        conformance::agrees_with_the_memory_store(provider.documents()).await;
        check_tables(&path);
    }
}

#[tokio::test]
async fn the_provider_says_what_it_is() {
    let opened = open().await;
    assert_eq!(opened.provider.name(), "sqlite");
    assert_eq!(opened.store().durability(), Durability::Disk);
    assert!(opened.provider.check_health().await.unwrap().latency.as_nanos() > 0);
    opened.provider.initialize().await.expect("a second time");
}

#[tokio::test]
async fn nothing_works_before_the_file_is_open() {
    let provider = SqliteProvider::new(SqliteOptions::new("never-made.db"));
    assert!(provider.check_health().await.unwrap_err().is_unavailable());
    assert!(provider.documents().exists(&document("doc")).await.unwrap_err().is_unavailable());
    assert!(!Path::new("never-made.db").try_exists().unwrap());
}

#[tokio::test]
async fn documents_outlive_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let id = document("doc");
    let batch = part(&id, vec![delta("x", 1, "one"), delta("x", 2, "two")]);
    let provider = open_file(&path).await.unwrap();
    let before = provider.documents().append(&batch).await.unwrap();
    let record = provider.documents().get(&id).await.unwrap();
    drop(provider);

    let provider = open_file(&path).await.unwrap();
    assert_eq!(provider.documents().get(&id).await.unwrap(), record);
    let again = provider.documents().append(&batch).await.unwrap();
    assert_eq!(again[0].epoch, before[0].epoch);
    assert_eq!(again[0].deliveries, [Delivery::Repeated(Seq(1)), Delivery::Repeated(Seq(2))]);
}

#[tokio::test]
async fn a_new_file_has_other_epochs_than_the_one_in_whose_place_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let id = document("doc");
    let batch = part(&id, vec![delta("x", 1, "one")]);
    let provider = open_file(&path).await.unwrap();
    let old = provider.documents().append(&batch).await.unwrap()[0].epoch;
    drop(provider);
    std::fs::remove_file(&path).unwrap();
    let provider = open_file(&path).await.unwrap();
    let new = provider.documents().append(&batch).await.unwrap()[0].epoch;
    assert_ne!(old, new);
    let after = Position { epoch: old, seq: Seq(1) };
    let page = provider.documents().deltas_after(&id, after).await.unwrap();
    assert_eq!(page, DeltaPage::OtherEpoch);
}

/// The names of what is in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_closed_store_leaves_one_file_with_everything_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let provider = open_file(&directory.path().join("test.db")).await.unwrap();
    assert_eq!(names(directory.path()), ["test.db", "test.db-shm", "test.db-wal", "test.db.lock"]);
    drop(provider);
    assert_eq!(names(directory.path()), ["test.db", "test.db.lock"]);
}

#[tokio::test]
async fn a_file_that_is_in_use_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let first = open_file(&path).await.unwrap();
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let roundabout = directory.path().join(".").join("test.db");
    for path in [path.clone(), link, roundabout] {
        let error = open_file(&path).await.unwrap_err();
        assert!(error.is_configuration());
        let text = error.to_string();
        assert!(text.contains("test.db: another process uses this file"), "{text}");
    }
    first.check_health().await.unwrap();
    drop(first);
    open_file(&path).await.expect("free again");
}

#[tokio::test]
async fn a_path_that_cannot_be_a_file_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    for (path, expected) in [
        (directory.path().join("absent").join("test.db"), "absent does not exist; make it"),
        (directory.path().to_owned(), "this is a directory; expected the path of a file"),
        (file.join("test.db"), "choose a path where this program may make and write files"),
        (PathBuf::from(".."), "this is a directory"),
        (PathBuf::new(), "expected the path of a file"),
    ] {
        let error = open_file(&path).await.unwrap_err();
        assert!(error.is_configuration());
        assert!(error.to_string().contains(expected), "{path:?}: {error}");
    }
    assert_eq!(names(directory.path()), ["file"]);
}

#[tokio::test]
async fn a_file_of_another_program_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let refuse = async || {
        let before = std::fs::read(&path).unwrap();
        let error = open_file(&path).await.unwrap_err();
        assert!(matches!(error, OpenError::Schema(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains("test.db was made by another program"), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
        std::fs::remove_file(&path).unwrap();
    };
    std::fs::write(&path, "a text of some length, which is no database at all. ".repeat(100))
        .unwrap();
    refuse().await;
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE documents (id TEXT)")
        .unwrap();
    refuse().await;
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA application_id = 1; VACUUM")
        .unwrap();
    refuse().await;
    std::fs::write(&path, "").unwrap();
    open_file(&path).await.expect("an empty file is a new one");
}

#[tokio::test]
async fn a_newer_schema_and_an_edited_migration_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let change = |sql: &str| {
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    };
    drop(open_file(&path).await.unwrap());
    change(
        "INSERT INTO schema_migrations (version, applied_at, checksum) VALUES ('999_of_tomorrow', 0, 'sum')",
    );
    let error = open_file(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Schema(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("999_of_tomorrow, which this program does not know"), "{text}");
    assert!(text.contains("test.db"), "{text}");
    change("DELETE FROM schema_migrations WHERE version = '999_of_tomorrow'");
    drop(open_file(&path).await.expect("as before"));
    change("UPDATE schema_migrations SET checksum = 'other'");
    let text = open_file(&path).await.unwrap_err().to_string();
    assert!(text.contains("001_initial_schema was changed"), "{text}");
}

#[tokio::test]
async fn what_a_deleted_document_leaves_behind_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let (gone, kept) = (document("gone"), document("kept"));
    let provider = open_file(&path).await.unwrap();
    let store = provider.documents();
    for id in [&gone, &kept] {
        let deltas = (1..=3_000).map(|counter| delta("x", counter, "text")).collect();
        store.append(&part(id, deltas)).await.unwrap();
    }
    assert!(store.delete(&gone).await.unwrap());
    // Each call gives the writer a step to do, so that this ends without a look at a clock.
    let count = |sql: &str| -> i64 {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    while count("SELECT count(*) FROM removed_documents") > 0 {
        store.delete(&document("absent")).await.unwrap();
    }
    assert_eq!(count("SELECT count(*) FROM deltas"), 3_000);
    assert_eq!(count("SELECT count(*) FROM clocks"), 1);
    assert_eq!(store.heads(&[gone, kept]).await.unwrap()[1].unwrap().seq, Seq(3_000));
}

#[tokio::test]
async fn another_program_that_writes_is_waited_for_and_then_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let provider = open_file(&path).await.unwrap();
    let id = document("doc");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batch = part(&id, vec![delta("x", 1, "one")]);
    let error = provider.documents().append(&batch).await.unwrap_err();
    assert_eq!(error.cause(), Some(Cause::Conflict), "{error}");
    assert!(error.to_string().contains("locked"), "{error}");
    assert!(!provider.documents().exists(&id).await.unwrap());
    other.execute_batch("ROLLBACK").unwrap();
    provider.documents().append(&batch).await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_dropped_disturbs_no_other() {
    let opened = open().await;
    let id = document("doc");
    let mut dropped = 0;
    for counter in 1..=50 {
        let batch = part(&id, vec![delta("x", counter, "text")]);
        let append = opened.store().append(&batch);
        tokio::select! {
            biased;
            _ = append => {}
            () = tokio::task::yield_now() => dropped += 1,
        }
    }
    assert!(dropped > 0);
    opened.store().append(&part(&id, vec![delta("y", 1, "last")])).await.unwrap();
    let head = opened.store().heads(std::slice::from_ref(&id)).await.unwrap()[0].unwrap();
    let start = Position { seq: Seq(0), ..head };
    let page = opened.store().deltas_after(&id, start).await.unwrap();
    assert!(matches!(page, DeltaPage::Deltas(page) if page.len() as u64 == head.seq.0));
}
