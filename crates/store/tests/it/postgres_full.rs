//! A PostgreSQL that has no room: for its tables, and for its log.

use std::time::Duration;

use futures_util::future::join_all;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Position, Seq};
use synckit_store::postgres::PostgresProvider;
use synckit_store::{Append, Delivery, DeltaPage, DocumentStore, StorageProvider, StoreError};
use synckit_testkit::{Database, Postgres};

use crate::postgres::provider;
use crate::sqlite::{delta, document, part};

/// Recovery replays what one file of the log holds.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(60);

/// Larger than a file of the log, which PostgreSQL makes whole: only tables meet this limit.
const TABLE_BYTES_MAX: u64 = 17 << 20;

/// Smaller than a file of the log, larger than the tables get.
const LOG_BYTES_MAX: u64 = 12 << 20;

/// Nearly as much.
const FILL_LOG: &str = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 9 << 20))";

/// The size of the disk that is filled, and of the file on it that gives way later.
const DISK_BYTES: u64 = 16 << 20;
const BALLAST_BYTES: u64 = 6 << 20;

const DELTA_BYTES: usize = 256 << 10;

/// Deltas that are appended to a document at once.
const EDIT: u64 = 3;

fn edit(client: &str, round: u64) -> Vec<synckit_engine::delta::Delta> {
    let text = "x".repeat(DELTA_BYTES);
    (1..=EDIT).map(|place| delta(client, EDIT * round + place, &text)).collect()
}

fn both(ids: &[DocumentId; 2], round: u64) -> [Append; 2] {
    ids.clone().map(|document| Append { document, deltas: edit("x", round) })
}

/// Appends to both documents at once until the store refuses: with which error, and how many edits
/// it acknowledged before.
async fn fill(store: &dyn DocumentStore, ids: &[DocumentId; 2], from: u64) -> (StoreError, u64) {
    for round in from..1_000 {
        if let Err(error) = store.append(&both(ids, round)).await {
            return (error, round);
        }
    }
    panic!("the limit was never met")
}

/// How many deltas a document has; they are those of `fill`, in order and without gaps.
async fn count(store: &dyn DocumentStore, id: &DocumentId) -> u64 {
    let head = store.heads(std::slice::from_ref(id)).await.expect("heads")[0].expect("a document");
    let mut after = Position { seq: Seq(0), ..head };
    loop {
        let DeltaPage::Deltas(page) = store.deltas_after(id, after).await.expect("a page") else {
            panic!("{id} has a gap after {after:?}");
        };
        let Some(last) = page.last() else { break };
        after.seq = last.seq;
        for numbered in page {
            assert_eq!(numbered.delta.number.0, numbered.seq.0);
            assert_eq!(numbered.delta.data().len(), DELTA_BYTES + r#"{"field":""}"#.len());
        }
    }
    assert_eq!(after, head, "the head of {id} is its last delta");
    let clock = store.vector_clock(id).await.expect("vector_clock");
    assert_eq!(clock.iter().map(|(_, number)| number.0).sum::<u64>(), head.seq.0);
    head.seq.0
}

/// Runs a command as the account of the server, in its data directory.
async fn run_on_server(server: &Database, command: &str) {
    let quoted = command.replace('\'', "''");
    server.execute(&format!("COPY (SELECT) TO PROGRAM 'cat >/dev/null; {quoted}'")).await;
}

/// Limits the size of the files that connections write, and the process that writes the log for
/// them. A limit on one's own processes takes no privilege, so the server sets it.
async fn limit_files(server: &Database, new_connections_too: bool, limit: &str) {
    let writers = "SELECT pid FROM pg_stat_activity \
        WHERE backend_type IN ('client backend', 'walwriter') AND pid <> pg_backend_pid()";
    let mut processes: Vec<String> =
        server.rows(writers).await.into_iter().map(|mut row| row.remove(0)).collect();
    if new_connections_too {
        processes.push("$(head -1 postmaster.pid)".to_owned());
    }
    let processes = processes.join(" ");
    // A connection that was about to end may have done so.
    let command = format!(
        "for process in {processes}; do \
            prlimit --pid $process --fsize={limit}: || test ! -e /proc/$process || exit 1; done"
    );
    run_on_server(server, &command).await;
}

/// What refused appends leave is room for others as soon as it is vacuumed.
async fn stop_vacuum(server: &Database) {
    server.execute("ALTER SYSTEM SET autovacuum = off").await;
    server.execute("SELECT pg_reload_conf()").await;
}

async fn started() -> (Postgres, Database, PostgresProvider) {
    let postgres = Postgres::start_private().await;
    let database = postgres.create_database().await;
    let provider = provider(&database);
    provider.initialize().await.expect("initialize");
    (postgres, database, provider)
}

/// With the store's files full: it says so, keeps what it has, and goes on as soon as there is room.
async fn check_full(store: &dyn DocumentStore, reason: &str, make_room: impl AsyncFnOnce()) {
    let ids = ["a", "b"].map(document);
    let (error, stored) = fill(store, &ids, 0).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains(reason), "{error}");
    assert!(stored > 0);
    for id in &ids {
        assert_eq!(count(store, id).await, EDIT * stored);
    }

    // Some go to new documents, some to full ones; what is refused has left nothing.
    let calls = (0..20_u64).map(|number| {
        let id = if number % 2 == 0 { ids[0].clone() } else { document(&format!("new-{number}")) };
        let batch = part(&id, edit(&format!("writer-{number}"), 0));
        async move { store.append(&batch).await.map(drop) }
    });
    for result in join_all(calls).await {
        let error = result.expect_err("no room");
        assert!(error.is_unavailable() && error.to_string().contains(reason), "{error}");
    }
    assert_eq!(store.document_ids(9, None).await.expect("ids"), ids);
    for id in &ids {
        assert_eq!(count(store, id).await, EDIT * stored);
    }

    make_room().await;
    for (round, id) in [(0, &ids[0]), (stored - 1, &ids[1])] {
        let answer = store.append(&part(id, edit("x", round))).await.expect("a repeat");
        let numbers = (1..=EDIT).map(|place| Delivery::Repeated(Seq(EDIT * round + place)));
        assert!(answer[0].deliveries.iter().copied().eq(numbers), "{answer:?}");
    }
    for id in &ids {
        let answer = store.append(&part(id, edit("x", stored))).await.expect("there is room again");
        let numbers = (1..=EDIT).map(|place| Delivery::Stored(Seq(EDIT * stored + place)));
        assert!(answer[0].deliveries.iter().copied().eq(numbers), "{answer:?}");
        assert_eq!(count(store, id).await, EDIT * (stored + 1));
    }
}

#[tokio::test]
async fn tables_that_may_not_grow_cost_only_the_calls_that_need_room() {
    let (_postgres, database, provider) = started().await;
    stop_vacuum(&database).await;
    limit_files(&database, true, &TABLE_BYTES_MAX.to_string()).await;
    let make_room = async || limit_files(&database, true, "unlimited").await;
    check_full(provider.documents(), "File too large", make_room).await;
}

/// Where nothing may be mounted, the test above is all that can be had.
#[tokio::test]
async fn a_full_disk_costs_only_the_calls_that_need_room() {
    let Some((postgres, disk)) = Postgres::start_private_with_small_disk(DISK_BYTES).await else {
        println!("this machine lets nobody mount a small disk");
        return;
    };
    let database = postgres.create_database().await;
    let (name, disk) = (database.name(), disk.display());
    database.execute(&format!("CREATE TABLESPACE small LOCATION '{disk}'")).await;
    database.execute(&format!("ALTER DATABASE {name} SET default_tablespace = small")).await;
    let provider = provider(&database);
    provider.initialize().await.expect("initialize");
    stop_vacuum(&database).await;
    let ballast = format!("head -c {BALLAST_BYTES} /dev/zero >'{disk}/ballast'");
    run_on_server(&database, &ballast).await;

    let make_room = async || run_on_server(&database, &format!("rm '{disk}/ballast'")).await;
    check_full(provider.documents(), "No space left on device (53100)", make_room).await;
}

/// A server that has failed is back when its recovery is over.
async fn append_when_it_is_back(store: &dyn DocumentStore, batch: &[Append]) {
    let appends = async {
        while let Err(error) = store.append(batch).await {
            assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        }
    };
    tokio::time::timeout(RECOVERY_DEADLINE, appends).await.expect("the server comes back");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_an_outage_that_loses_nothing() {
    let (_postgres, database, provider) = started().await;
    let store = provider.documents();
    let ids = ["a", "b"].map(document);
    let start = "SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let started = database.rows(start).await;
    // Near the limit in the log, far from it in the tables.
    database.execute("SELECT pg_switch_wal()").await;
    store.append(&both(&ids, 0)).await.expect("append");
    database.execute(FILL_LOG).await;
    limit_files(&database, false, &LOG_BYTES_MAX.to_string()).await;
    // Then the server ends all its processes, with them those that are limited, and starts again.
    let (error, stored) = fill(store, &ids, 1).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");

    append_when_it_is_back(store, &both(&ids, stored)).await;
    assert_ne!(database.rows(start).await, started, "the server started again");
    for id in &ids {
        assert_eq!(count(store, id).await, EDIT * (stored + 1), "each edit once");
    }
}
