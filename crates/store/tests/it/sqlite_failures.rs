//! Processes that fail while they write. They are this test program started once more, with an
//! environment variable that names the file.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use synckit_engine::clock::VectorClock;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Position, Seq};
use synckit_store::sqlite::{SqliteOptions, SqliteProvider};
use synckit_store::{
    Append, Cause, Delivery, DeltaPage, DocumentStore, StorageProvider, StoreError,
};

use crate::sqlite::{check_tables, delta, document, open_file, part};

/// In the environment of the second process: the file that it writes to.
const CHILD_VARIABLE: &str = "SYNCKIT_TEST_SQLITE_CHILD";

/// Names the seed of one run, to do it again.
const SEED_VARIABLE: &str = "SYNCKIT_STORE_SEED";

const WRITERS: u64 = 16;
const DOCUMENTS: u64 = 5;

/// Deltas that a writer appends to a document at once.
const EDIT: u64 = 3;

/// Ended with the value, also when the test fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program again, with only the one test, whose part as a child it plays.
fn child(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test program"));
    command.args(["--exact", test, "--nocapture"]).env(CHILD_VARIABLE, path);
    command
}

fn path_as_child() -> Option<PathBuf> {
    std::env::var_os(CHILD_VARIABLE).map(PathBuf::from)
}

/// All deltas of a document, which have no gaps.
async fn history(store: &dyn DocumentStore, id: &DocumentId) -> BTreeMap<u64, (String, u64)> {
    let Some(record) = store.get(id).await.expect("get") else {
        return BTreeMap::new();
    };
    let mut after = Position { seq: Seq(0), ..record.head };
    let mut history = BTreeMap::new();
    let mut merged = VectorClock::new();
    loop {
        let DeltaPage::Deltas(page) = store.deltas_after(id, after).await.expect("page") else {
            panic!("{id} has a gap after {after:?}");
        };
        let Some(last) = page.last() else { break };
        after.seq = last.seq;
        for numbered in page {
            let delta = numbered.delta;
            merged.raise(&delta.client, delta.number);
            history.insert(numbered.seq.0, (delta.client.as_str().to_owned(), delta.number.0));
        }
    }
    let clock = store.vector_clock(id).await.expect("vector_clock");
    assert_eq!((after.seq, merged), (record.head.seq, clock), "head and clock of {id}");
    history
}

fn shared(number: u64) -> DocumentId {
    document(&format!("shared-{number}"))
}

/// Appends without end; says what was acknowledged, a line for each delta.
async fn write_for_ever(path: &Path) {
    let provider = open_file(path).await.expect("open");
    let writers = (0..WRITERS).map(|writer| {
        let store = provider.documents();
        async move {
            for round in 0.. {
                let deltas: Vec<_> = (1..=EDIT)
                    .map(|place| delta(&format!("writer-{writer}"), EDIT * round + place, "text"))
                    .collect();
                // Two documents at once, so that a torn transaction would show.
                let batch = [writer, writer + round + 1]
                    .map(|number| shared(number % DOCUMENTS))
                    .map(|document| Append { document, deltas: deltas.clone() });
                let batch =
                    if batch[0].document == batch[1].document { &batch[..1] } else { &batch[..] };
                let appended = store.append(batch).await.expect("append");
                let mut lines = String::new();
                for (part, appended) in batch.iter().zip(appended) {
                    for (delta, delivery) in part.deltas.iter().zip(appended.deliveries) {
                        let Delivery::Stored(seq) = delivery else { panic!("{delivery:?}") };
                        let (id, client, counter) = (&part.document, &delta.client, delta.number.0);
                        lines.push_str(&format!("stored {id} {} {client} {counter}\n", seq.0));
                    }
                }
                std::io::stdout().write_all(lines.as_bytes()).expect("the parent reads");
            }
        }
    });
    join_all(writers).await;
}

#[tokio::test]
async fn a_killed_process_has_stored_what_it_acknowledged_and_tore_nothing() {
    if let Some(path) = path_as_child() {
        return write_for_ever(&path).await;
    }
    let given = std::env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("again with: {SEED_VARIABLE}={seed}");
    let name = "sqlite_failures::a_killed_process_has_stored_what_it_acknowledged_and_tore_nothing";
    for round in 0..3_u64 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let mut process =
            Process(child(name, &path).stdout(Stdio::piped()).spawn().expect("a child"));
        let mut output = BufReader::new(process.0.stdout.take().expect("a pipe"));
        // More than the log takes before it is carried over, in some rounds.
        let lines_wanted = 200 + seed.rotate_left(16 * u32::try_from(round).unwrap()) % 20_000;
        let mut acknowledged: HashMap<(String, u64), (String, u64)> = HashMap::new();
        let mut line = String::new();
        let mut lines = 0;
        while output.read_line(&mut line).expect("text") > 0 {
            if let Some(fields) = line.strip_prefix("stored ")
                && line.ends_with('\n')
            {
                let fields: Vec<&str> = fields.split_whitespace().collect();
                let number = |at: usize| fields[at].parse::<u64>().unwrap();
                acknowledged
                    .insert((fields[0].to_owned(), number(1)), (fields[2].to_owned(), number(3)));
                lines += 1;
                if lines == lines_wanted {
                    process.0.kill().expect("kill");
                }
            }
            line.clear();
        }
        assert!(lines >= lines_wanted, "the child ended by itself after {lines} lines");
        drop(process);

        let provider = open_file(&path).await.expect("open again");
        let store = provider.documents();
        let mut edits: HashMap<(String, u64), Vec<u64>> = HashMap::new();
        for number in 0..DOCUMENTS {
            let id = shared(number);
            let history = history(store, &id).await;
            for ((document, seq), delta) in &acknowledged {
                if document == id.as_str() {
                    assert_eq!(history.get(seq), Some(delta), "{document} {seq}");
                }
            }
            for (client, counter) in history.into_values() {
                edits.entry((client, (counter - 1) / EDIT)).or_default().push(counter);
            }
        }
        check_tables(&path);
        for ((client, round), mut counters) in edits {
            counters.sort_unstable();
            let writer: u64 = client.strip_prefix("writer-").unwrap().parse().unwrap();
            let documents = if (round + 1).is_multiple_of(DOCUMENTS) { 1 } else { 2 };
            let whole: Vec<u64> =
                (0..EDIT * documents).map(|place| EDIT * round + 1 + place / documents).collect();
            assert_eq!(counters, whole, "edit {round} of {client} ({writer}) is whole");
        }
        store.append(&part(&shared(0), vec![delta("after", 1, "text")])).await.expect("append");
    }
}

/// Appends until the store refuses; what it acknowledged before, by its number.
async fn fill(store: &dyn DocumentStore, id: &DocumentId, client: &str) -> u64 {
    let text = "x".repeat(3_000);
    for round in 0.. {
        let deltas = (1..=EDIT).map(|place| delta(client, EDIT * round + place, &text)).collect();
        match store.append(&part(id, deltas)).await {
            Ok(_) => {}
            Err(error) => {
                let full = [Cause::DiskFull, Cause::DiskFailing];
                assert!(error.cause().is_some_and(|cause| full.contains(&cause)), "{error}");
                return EDIT * round;
            }
        }
    }
    unreachable!("the loop has no end");
}

#[tokio::test]
async fn a_full_file_refuses_whole_batches_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let options = SqliteOptions { pages_max: Some(300), ..SqliteOptions::new(&path) };
    let provider = SqliteProvider::new(options);
    provider.initialize().await.unwrap();
    let store = provider.documents();
    let (id, other) = (document("filling"), document("other"));
    let stored = fill(store, &id, "x").await;
    assert!(stored > 0);
    assert_eq!(history(store, &id).await.len() as u64, stored);

    // Calls that meet in one group: none is taken without its neighbours being told the truth.
    let calls = (0..20_u64).map(|number| {
        let deltas = vec![delta(&format!("small-{number}"), 1, &"y".repeat(2_000))];
        async { store.append(&part(&other, deltas)).await.is_ok() }
    });
    let taken = join_all(calls).await.into_iter().filter(|taken| *taken).count();
    assert_eq!(history(store, &other).await.len(), taken);
    provider.check_health().await.expect("reading needs no room");

    assert!(store.delete(&id).await.expect("deleting needs no room"));
    let again = fill(store, &id, "x").await;
    assert!(again > 0, "there is room again");
    assert_eq!(history(store, &id).await.len() as u64, again);
}

fn change(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).expect("the file").execute_batch(sql).expect("a change");
}

#[tokio::test]
async fn a_document_that_cannot_be_filed_costs_no_other_and_not_even_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let options = SqliteOptions { recent_max: 1, ..SqliteOptions::new(&path) };
    let provider = SqliteProvider::new(options);
    provider.initialize().await.unwrap();
    let store = provider.documents();
    let (sound, damaged) = (document("sound"), document("damaged"));
    store.append(&part(&damaged, vec![delta("x", 1, "text")])).await.unwrap();
    // The place of its first delta is taken.
    change(&path, "INSERT INTO filed SELECT * FROM recent");
    for counter in 2..10 {
        for id in [&sound, &damaged] {
            store.append(&part(id, vec![delta("x", counter, "text")])).await.expect("append");
        }
    }
    assert_eq!(history(store, &sound).await.len(), 8);
    let head = store.heads(std::slice::from_ref(&damaged)).await.unwrap()[0].unwrap();
    assert_eq!(head.seq, Seq(9));
}

#[tokio::test]
async fn a_damaged_document_costs_no_other_and_leaves_no_half_batch() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let provider = open_file(&path).await.unwrap();
    let store = provider.documents();
    let (sound, damaged) = (document("sound"), document("damaged"));
    for id in [&sound, &damaged] {
        store.append(&part(id, vec![delta("x", 1, "text")])).await.unwrap();
    }
    change(
        &path,
        "CREATE TRIGGER damage BEFORE INSERT ON deltas WHEN NEW.document_key = \
            (SELECT key FROM documents WHERE id = 'damaged') \
            BEGIN SELECT RAISE(ABORT, 'damaged'); END",
    );

    let both = [&sound, &damaged]
        .map(|id| Append { document: id.clone(), deltas: vec![delta("x", 2, "text")] });
    let neighbours = (0..20_u64).map(|number| {
        let deltas = vec![delta(&format!("neighbour-{number}"), 1, "text")];
        async { store.append(&part(&sound, deltas)).await.map(drop) }
    });
    let (refused, stored) = tokio::join!(store.append(&both), join_all(neighbours));
    let error = refused.unwrap_err();
    assert!(matches!(error, StoreError::EditRefused(_)), "{error}");
    assert!(stored.iter().all(Result::is_ok), "{stored:?}");
    let history = history(store, &sound).await;
    assert_eq!(history.len(), 21);
    assert!(!history.values().any(|delta| *delta == ("x".to_owned(), 2)));
}

#[tokio::test]
async fn a_file_that_is_damaged_under_a_running_server_refuses_no_edit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let provider = open_file(&path).await.unwrap();
    let id = document("doc");
    provider.documents().append(&part(&id, vec![delta("x", 1, "text")])).await.unwrap();
    drop(provider);
    let provider = open_file(&path).await.unwrap();
    // All but the first page, which says what the file is.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4_096..].fill(0xff);
    std::fs::write(&path, bytes).unwrap();

    // The writer may have read before what it needs for the document it knows, and for no other.
    for name in ["other", "another"] {
        let batch = part(&document(name), vec![delta("x", 1, "text")]);
        let error = provider.documents().append(&batch).await.unwrap_err();
        assert_eq!(error.cause(), Some(Cause::Damaged), "{error}");
    }
    let error = provider.documents().get(&id).await.unwrap_err();
    assert_eq!(error.cause(), Some(Cause::Damaged), "{error}");
}

/// With a limit on the size of its files, which fails writes as a broken disk does.
async fn write_to_a_failing_disk(path: &Path) {
    let provider = open_file(path).await.expect("open");
    let store = provider.documents();
    let id = document("doc");
    let limit = getrlimit(Resource::Fsize);
    let bytes = std::fs::metadata(path).expect("a file").len() + 1_000_000;
    setrlimit(Resource::Fsize, Rlimit { current: Some(bytes), ..limit }).expect("lower the limit");
    let stored = fill(store, &id, "x").await;
    assert!(stored > 0);
    assert_eq!(history(store, &id).await.len() as u64, stored);
    for _ in 0..3 {
        let large = delta("x", stored + 1, &"x".repeat(2_000_000));
        let error = store.append(&part(&id, vec![large])).await.expect_err("too large");
        assert!(error.is_unavailable(), "{error}");
    }
    setrlimit(Resource::Fsize, limit).expect("raise the limit");
    let next =
        store.append(&part(&id, vec![delta("x", stored + 1, "back")])).await.expect("append");
    assert_eq!(next[0].deliveries, [Delivery::Stored(Seq(stored + 1))]);
    drop(provider);
    let provider = open_file(path).await.expect("open again");
    assert_eq!(history(provider.documents(), &id).await.len() as u64, stored + 1);
}

#[tokio::test]
async fn a_disk_that_fails_writes_costs_only_the_calls_it_fails() {
    if let Some(path) = path_as_child() {
        write_to_a_failing_disk(&path).await;
        println!("all is well");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let name = "sqlite_failures::a_disk_that_fails_writes_costs_only_the_calls_it_fails";
    let child = child(name, &directory.path().join("test.db"));
    // The signal that comes with the limit would end the process; what is ignored stays ignored.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(child.get_program());
    shell.args(child.get_args());
    for (name, value) in child.get_envs() {
        shell.env(name, value.expect("only set"));
    }
    let output = shell.output().expect("a child");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("all is well"), "{output:?}");
}

#[tokio::test]
async fn a_file_that_was_moved_away_takes_nothing_until_it_is_back() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["test.db", "test.db-wal"] {
        let path = directory.path().join("test.db");
        let provider = SqliteProvider::new(SqliteOptions::new(&path));
        provider.initialize().await.expect("initialize");
        let (store, id) = (provider.documents(), document(&format!("doc-{}", name.len())));
        let edit = |number| part(&id, vec![delta("x", number, "text")]);
        store.append(&edit(1)).await.expect("append");
        provider.try_write().await.expect("a write that is tried");
        let (there, away) = (directory.path().join(name), directory.path().join("away"));
        std::fs::rename(&there, &away).expect("moved away");
        let error = store.append(&edit(2)).await.expect_err("nobody would find it again");
        assert!(error.is_unavailable() && error.to_string().contains(name), "{error:?}");
        assert!(provider.try_write().await.is_err());
        let refused = provider.check_health().await.expect("it can be read").writes_refused;
        assert!(refused.is_some_and(|refused| refused.reason.contains(name)));
        std::fs::rename(&away, &there).expect("moved back");
        store.append(&edit(2)).await.expect("the same edit");
        provider.try_write().await.expect("a write that is tried");
        assert_eq!(history(store, &id).await.len(), 2);
    }
}
