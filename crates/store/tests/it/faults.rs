//! The contract once more, seen by a caller whose calls fail and whose answers get lost, and who
//! repeats them as the contract says.

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use synckit_engine::position::{Position, Seq};
use synckit_store::faulty::{Faults, FaultyProvider, FaultyStore, RetryingStore};
use synckit_store::{Append, Appended, Cause, Delivery, DeltaPage, DocumentStore, StorageProvider};

use crate::sqlite::{delta, document};

/// Names the seed of the faults of one run, to do it again.
const SEED_VARIABLE: &str = "SYNCKIT_STORE_FAULT_SEED";

/// Tries of a call before a test gives up.
const ATTEMPTS_MAX: usize = 100;

/// Faults drawn anew, or those of the run that is to be repeated.
#[expect(clippy::print_stderr, reason = "the test runner shows it with the failed test")]
fn announced_faults() -> Faults {
    let given = std::env::var(SEED_VARIABLE).ok().map(|text| {
        text.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE} is a number, not {text:?}"))
    });
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").unwrap_or("faults");
    eprintln!("again with: {SEED_VARIABLE}={seed} cargo nextest run -p synckit-store {test}");
    Faults::from_seed(seed)
}

/// Providers over the same documents, with what has to outlive them.
struct Bare {
    first: Arc<dyn StorageProvider>,
    second: Arc<dyn StorageProvider>,
    /// Dropped last, with files and connections closed.
    keep: Box<dyn Any>,
}

impl Bare {
    fn alone(provider: Arc<dyn StorageProvider>, keep: Box<dyn Any>) -> Self {
        Self { first: Arc::clone(&provider), second: provider, keep }
    }

    /// For a caller that repeats.
    fn under_faults(self) -> Opened {
        let faults = announced_faults();
        let retrying = |provider| RetryingStore::new(FaultyStore::new(provider, faults.clone()));
        let Self { first, second, keep } = self;
        Opened { first: retrying(first), second: retrying(second), _keep: keep }
    }
}

struct Opened {
    first: RetryingStore,
    second: RetryingStore,
    _keep: Box<dyn Any>,
}

impl Opened {
    fn store(&self) -> &dyn DocumentStore {
        &self.first
    }

    fn other(&self) -> &dyn DocumentStore {
        &self.second
    }
}

/// The whole of the suite against one back end, and what only a caller with faults can see.
macro_rules! under_faults {
    ($bare:path) => {
        async fn open() -> crate::faults::Opened {
            $bare().await.under_faults()
        }

        synckit_store::conformance_tests!(open);

        #[tokio::test]
        async fn repeating_after_lost_answers_stores_each_delta_once_and_leaves_no_gap() {
            crate::faults::lost_answers_are_resolved($bare().await).await;
        }
    };
}

mod memory {
    async fn bare() -> super::Bare {
        let provider = synckit_store::memory::MemoryProvider::new();
        super::Bare::alone(std::sync::Arc::new(provider), Box::new(()))
    }

    under_faults!(bare);
}

mod sqlite {
    async fn bare() -> super::Bare {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("test.db");
        let provider = crate::sqlite::open_file(&path).await.expect("initialize");
        super::Bare::alone(std::sync::Arc::new(provider), Box::new(directory))
    }

    under_faults!(bare);
}

mod postgres {
    use synckit_store::StorageProvider;

    async fn bare() -> super::Bare {
        let database = synckit_testkit::Postgres::shared().await.create_database().await;
        let provider = || std::sync::Arc::new(crate::postgres::provider(&database));
        let (first, second) = (provider(), provider());
        first.initialize().await.expect("initialize");
        super::Bare { first, second, keep: Box::new(database) }
    }

    under_faults!(bare);
}

/// As a caller does it that knows nothing but the error.
async fn append_until_answered(store: &dyn DocumentStore, batch: &[Append]) -> Vec<Appended> {
    for _ in 0..ATTEMPTS_MAX {
        match store.append(batch).await {
            Ok(appended) => return appended,
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
    }
    panic!("append failed {ATTEMPTS_MAX} times")
}

/// Two callers write the same documents, half of whose answers are lost. Whatever number an answer
/// names in the end, the delta is there, under that number and no other.
async fn lost_answers_are_resolved(bare: Bare) {
    const BATCHES: u64 = 150;
    const DOCUMENTS: u64 = 3;
    let faults = announced_faults().with_percent(10, 50);
    let faulty = |provider: &Arc<dyn StorageProvider>| {
        FaultyProvider::new(Arc::clone(provider), faults.clone())
    };
    let providers = [faulty(&bare.first), faulty(&bare.second)];
    let write = async |provider: &FaultyProvider, name: &'static str| {
        let mut answered = Vec::new();
        for number in 1..=BATCHES {
            let parts = (0..DOCUMENTS).filter(|place| (number + place) % DOCUMENTS != 0);
            let batch: Vec<Append> = parts
                .map(|place| Append {
                    document: document(&format!("lost-{place}")),
                    // The last is one that the other caller writes too.
                    deltas: vec![delta(name, number, "own"), delta("both", number, "shared")],
                })
                .collect();
            let answers = append_until_answered(provider.documents(), &batch).await;
            for (part, answer) in batch.iter().zip(answers) {
                for (delta, delivery) in part.deltas.iter().zip(answer.deliveries) {
                    let (Delivery::Stored(seq) | Delivery::Repeated(seq)) = delivery;
                    answered.push((part.document.clone(), seq, delta.id.clone()));
                }
            }
        }
        answered
    };
    let (one, two) = tokio::join!(write(&providers[0], "one"), write(&providers[1], "two"));
    assert!(faults.injected() > BATCHES, "there were faults");

    let mut stored = BTreeMap::new();
    for place in 0..DOCUMENTS {
        let id = document(&format!("lost-{place}"));
        let store = bare.first.documents();
        let head = store.get(&id).await.expect("get").expect("a record").head;
        let (mut after, mut ids) = (Position { seq: Seq(0), ..head }, HashSet::new());
        loop {
            let page = store.deltas_after(&id, after).await.expect("deltas_after");
            let DeltaPage::Deltas(page) = page else { panic!("{id} after {after:?}: {page:?}") };
            let Some(last) = page.last() else { break };
            after.seq = last.seq;
            for numbered in page {
                let delta = numbered.delta.id;
                assert!(ids.insert(delta.clone()), "{delta:?} is in {id} twice");
                stored.insert((id.clone(), numbered.seq), delta);
            }
        }
        assert_eq!((after.seq, ids.len() as u64), (head.seq, head.seq.0), "{id} has no gap");
        assert_eq!(ids.len() as u64, 3 * BATCHES * (DOCUMENTS - 1) / DOCUMENTS, "all of {id}");
    }
    for (id, seq, delta) in one.into_iter().chain(two) {
        assert_eq!(stored.get(&(id.clone(), seq)), Some(&delta), "number {} of {id}", seq.0);
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults_and_another_one_others() {
    let outcomes = async |seed| {
        let provider = Arc::new(synckit_store::memory::MemoryProvider::new());
        let store = FaultyStore::new(provider, Faults::from_seed(seed));
        let mut outcomes = Vec::new();
        for _ in 0..100 {
            outcomes.push(store.exists(&document("doc")).await.map_err(|error| error.to_string()));
        }
        outcomes
    };
    let first = outcomes(7).await;
    assert_eq!(first, outcomes(7).await);
    assert_ne!(first, outcomes(8).await);
}

#[tokio::test]
async fn a_lost_answer_is_an_error_of_a_call_that_took_effect() {
    let provider: Arc<dyn StorageProvider> = Arc::new(synckit_store::memory::MemoryProvider::new());
    let id = document("doc");
    for (failing, losing, is_there) in [(100, 0, false), (0, 100, true)] {
        let faults = Faults::from_seed(1).with_percent(failing, losing);
        let faulty = FaultyStore::new(Arc::clone(&provider), faults);
        let error = faulty.get_or_create(&id).await.expect_err("a fault");
        let cause = if is_there { Cause::Timeout } else { Cause::Unreachable };
        assert_eq!(error.cause(), Some(cause), "{error}");
        assert_eq!(provider.documents().exists(&id).await.expect("exists"), is_there);
        RetryingStore::new(faulty).exists(&id).await.expect_err("a hundred faults");
    }
}
