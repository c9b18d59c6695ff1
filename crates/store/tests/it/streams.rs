//! Reading a store from end to end.

use futures_util::StreamExt;
use futures_util::TryStreamExt;
use std::pin::pin;
use std::sync::Arc;

use synckit_engine::clock::{EditNumber, VectorClock};
use synckit_engine::delta::Delta;
use synckit_engine::ids::ClientId;
use synckit_engine::position::Seq;
use synckit_store::contract::PAGE_IDS_DEFAULT;
use synckit_store::faulty::{Faults, FaultyStore};
use synckit_store::memory::MemoryProvider;
use synckit_store::{DocumentStore, StorageProvider, stream};
use synckit_testkit::Postgres;

use crate::sqlite::{delta, document, part};

/// Names how many deltas the long document has, to measure a longer one.
const DELTAS_VARIABLE: &str = "SYNCKIT_STORE_STREAM_DELTAS";

/// Several pages, and read in less than a second.
const DELTAS_DEFAULT: u64 = 5_500;

const DELTAS_AT_ONCE: u64 = 500;

fn deltas_wanted() -> u64 {
    let given = std::env::var(DELTAS_VARIABLE).ok();
    given.map_or(DELTAS_DEFAULT, |text| text.parse().expect("a number"))
}

/// What the process holds in memory, in KiB.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[expect(clippy::print_stderr, reason = "the test runner shows it when it is asked to")]
async fn a_long_history_is_streamed(store: &dyn DocumentStore) {
    let (id, count) = (document("long"), deltas_wanted());
    for first in (1..=count).step_by(usize::try_from(DELTAS_AT_ONCE).expect("a small number")) {
        let counters = first..(first + DELTAS_AT_ONCE).min(count + 1);
        let deltas: Vec<Delta> = counters.map(|counter| delta("x", counter, "text")).collect();
        store.append(&part(&id, deltas)).await.expect("append");
    }
    let (before, mut most) = (memory_kib(), 0);
    let mut seen = 0;
    let mut deltas = pin!(stream::deltas(store, &id, None));
    while let Some(numbered) = deltas.try_next().await.expect("a delta") {
        seen += 1;
        assert_eq!(numbered.seq, Seq(seq_of(&numbered.delta)));
        assert_eq!(numbered.seq, Seq(seen), "numbers have no gaps");
        if seen.is_multiple_of(1_000) {
            most = most.max(memory_kib());
        }
    }
    assert_eq!(seen, count);
    eprintln!("{count} deltas: {before} KiB before reading, {most} KiB at most while reading");

    let client = ClientId::new("x").expect("a client id");
    let since = VectorClock::dot(&client, EditNumber(count - 3));
    let rest: Vec<_> = stream::deltas(store, &id, Some(since)).try_collect().await.expect("deltas");
    let rest: Vec<u64> = rest.iter().map(|numbered| numbered.seq.0).collect();
    assert_eq!(rest, [count - 2, count - 1, count]);

    let absent = document("absent");
    assert_eq!(stream::deltas(store, &absent, None).count().await, 0);
}

fn seq_of(delta: &Delta) -> u64 {
    delta.number.0
}

async fn every_document_is_streamed_once_in_order(store: &dyn DocumentStore) {
    assert_eq!(stream::document_ids(store).count().await, 0);
    let documents = PAGE_IDS_DEFAULT + 3;
    let mut ids: Vec<_> = (0..documents).map(|number| document(&format!("d-{number}"))).collect();
    for at_once in ids.chunks(200) {
        let parts = at_once.iter().flat_map(|id| part(id, vec![delta("x", 1, "text")]));
        store.append(&parts.collect::<Vec<_>>()).await.expect("append");
    }
    ids.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    let listed: Vec<_> = stream::document_ids(store).try_collect().await.expect("ids");
    assert_eq!(listed, ids);
}

/// Makes both tests for one back end.
macro_rules! streams {
    ($name:ident, $with_store:path) => {
        mod $name {
            #[tokio::test]
            async fn a_long_history_is_streamed() {
                $with_store(async |store| super::a_long_history_is_streamed(store).await).await;
            }

            #[tokio::test]
            async fn every_document_is_streamed_once_in_order() {
                $with_store(async |store| {
                    super::every_document_is_streamed_once_in_order(store).await;
                })
                .await;
            }
        }
    };
}

streams!(memory, super::with_memory);
streams!(sqlite, super::with_sqlite);
streams!(postgres, super::with_postgres);

async fn with_memory(test: impl AsyncFnOnce(&dyn DocumentStore)) {
    test(MemoryProvider::new().documents()).await;
}

async fn with_sqlite(test: impl AsyncFnOnce(&dyn DocumentStore)) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("test.db");
    let provider = crate::sqlite::open_file(&path).await.expect("initialize");
    test(provider.documents()).await;
}

async fn with_postgres(test: impl AsyncFnOnce(&dyn DocumentStore)) {
    let database = Postgres::shared().await.create_database().await;
    let provider = crate::postgres::provider(&database);
    provider.initialize().await.expect("initialize");
    test(provider.documents()).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_first_error() {
    let provider = Arc::new(MemoryProvider::new());
    let id = document("doc");
    provider.documents().append(&part(&id, vec![delta("x", 1, "text")])).await.expect("append");
    let faulty = FaultyStore::new(provider, Faults::from_seed(1).with_percent(100, 0));
    let answers: Vec<_> = stream::deltas(&faulty, &id, None).collect().await;
    assert!(matches!(answers.as_slice(), [Err(error)] if error.is_unavailable()), "{answers:?}");
    let answers: Vec<_> = stream::document_ids(&faulty).collect().await;
    assert!(matches!(answers.as_slice(), [Err(error)] if error.is_unavailable()), "{answers:?}");
}
