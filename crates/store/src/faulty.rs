//! A store that fails on purpose. For tests: of what the contract says about errors, and of
//! callers.
//!
//! Before a call takes effect it may fail as of a store that is not available. After it has taken
//! effect its answer may be lost, and such an error comes in its place. Which calls those are, a seed
//! says; with one caller at a time the same seed gives the same faults. Errors of the store itself
//! pass through unchanged.

mod retrying;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use synckit_engine::clock::VectorClock;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Epoch, Position, Seq};

use crate::contract::{
    Append, Appended, DeltaPage, DocumentRecord, DocumentStore, Durability, Health, Identity,
    NumberedDelta, StorageProvider, StoredSnapshot,
};
use crate::error::{Cause, OpenError, StoreError};

pub use retrying::RetryingStore;

/// Of a hundred calls, so many fail before they take effect when nothing else is said.
const FAILING_PERCENT_DEFAULT: u64 = 15;

/// Of a hundred calls, so many lose their answers when nothing else is said.
const LOSING_PERCENT_DEFAULT: u64 = 15;

/// Which calls fail, and how. Clones draw from one sequence.
#[derive(Debug, Clone)]
pub struct Faults {
    state: Arc<Mutex<State>>,
    failing_percent: u64,
    losing_percent: u64,
}

#[derive(Debug)]
struct State {
    /// Of the generator, a SplitMix64.
    random: u64,
    injected: u64,
}

/// What is to become of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fails,
    LosesItsAnswer,
    Works,
}

impl Faults {
    /// The faults of this seed, in about three calls of ten.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State { random: seed, injected: 0 })),
            failing_percent: FAILING_PERCENT_DEFAULT,
            losing_percent: LOSING_PERCENT_DEFAULT,
        }
    }

    /// Of a hundred calls so many fail before they take effect, and so many lose their answers.
    #[must_use]
    pub fn with_percent(self, failing_percent: u64, losing_percent: u64) -> Self {
        Self { failing_percent, losing_percent, ..self }
    }

    /// How many calls had a fault so far.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.state.lock().injected
    }

    fn draw(&self) -> Fate {
        let mut state = self.state.lock();
        state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let percent = (bits ^ (bits >> 31)) % 100;
        let fate = if percent < self.failing_percent {
            Fate::Fails
        } else if percent < self.failing_percent + self.losing_percent {
            Fate::LosesItsAnswer
        } else {
            return Fate::Works;
        };
        state.injected += 1;
        fate
    }
}

/// What became of one call, with what its caller is not told.
#[derive(Debug)]
enum Attempt<T> {
    /// It never reached the store.
    Failed(StoreError),
    /// The store answered this, and the caller gets an error.
    Lost(Result<T, StoreError>, StoreError),
    /// The caller has the store's answer.
    Answered(Result<T, StoreError>),
}

impl<T> Attempt<T> {
    fn into_result(self) -> Result<T, StoreError> {
        match self {
            Self::Failed(error) | Self::Lost(_, error) => Err(error),
            Self::Answered(answer) => answer,
        }
    }
}

/// The documents of a provider, with faults.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    provider: Arc<dyn StorageProvider>,
    faults: Faults,
}

impl FaultyStore {
    /// Puts faults before the documents of this provider.
    #[must_use]
    pub fn new(provider: Arc<dyn StorageProvider>, faults: Faults) -> Self {
        Self { provider, faults }
    }

    fn inner(&self) -> &dyn DocumentStore {
        self.provider.documents()
    }

    async fn attempt<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Attempt<T> {
        match self.faults.draw() {
            Fate::Fails => {
                Attempt::Failed(StoreError::unavailable(Cause::Unreachable, "injected fault"))
            }
            Fate::LosesItsAnswer => {
                let answer = call.await;
                Attempt::Lost(answer, StoreError::timeout(Duration::ZERO))
            }
            Fate::Works => Attempt::Answered(call.await),
        }
    }
}

#[async_trait]
impl DocumentStore for FaultyStore {
    fn durability(&self) -> Durability {
        self.inner().durability()
    }

    fn history(&self) -> Epoch {
        self.inner().history()
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        self.attempt(self.inner().append(batch)).await.into_result()
    }

    async fn get(&self, id: &DocumentId) -> Result<Option<DocumentRecord>, StoreError> {
        self.attempt(self.inner().get(id)).await.into_result()
    }

    async fn get_or_create(&self, id: &DocumentId) -> Result<DocumentRecord, StoreError> {
        self.attempt(self.inner().get_or_create(id)).await.into_result()
    }

    async fn exists(&self, id: &DocumentId) -> Result<bool, StoreError> {
        self.attempt(self.inner().exists(id)).await.into_result()
    }

    async fn delete(&self, id: &DocumentId) -> Result<bool, StoreError> {
        self.attempt(self.inner().delete(id)).await.into_result()
    }

    async fn document_ids(
        &self,
        limit: usize,
        after: Option<&DocumentId>,
    ) -> Result<Vec<DocumentId>, StoreError> {
        self.attempt(self.inner().document_ids(limit, after)).await.into_result()
    }

    async fn deltas_after(
        &self,
        id: &DocumentId,
        after: Position,
    ) -> Result<DeltaPage, StoreError> {
        self.attempt(self.inner().deltas_after(id, after)).await.into_result()
    }

    async fn deltas_since(
        &self,
        id: &DocumentId,
        since: Option<&VectorClock>,
        after: Seq,
    ) -> Result<Vec<NumberedDelta>, StoreError> {
        self.attempt(self.inner().deltas_since(id, since, after)).await.into_result()
    }

    async fn vector_clock(&self, id: &DocumentId) -> Result<VectorClock, StoreError> {
        self.attempt(self.inner().vector_clock(id)).await.into_result()
    }

    async fn save_snapshot(
        &self,
        id: &DocumentId,
        snapshot: &StoredSnapshot,
    ) -> Result<bool, StoreError> {
        self.attempt(self.inner().save_snapshot(id, snapshot)).await.into_result()
    }

    async fn snapshot(&self, id: &DocumentId) -> Result<Option<StoredSnapshot>, StoreError> {
        self.attempt(self.inner().snapshot(id)).await.into_result()
    }

    async fn compact(
        &self,
        id: &DocumentId,
        up_to: &VectorClock,
        stored_before: Option<SystemTime>,
    ) -> Result<u64, StoreError> {
        self.attempt(self.inner().compact(id, up_to, stored_before)).await.into_result()
    }

    async fn claim_compaction(
        &self,
        id: &DocumentId,
        holder: &str,
        time: Duration,
    ) -> Result<bool, StoreError> {
        self.attempt(self.inner().claim_compaction(id, holder, time)).await.into_result()
    }

    async fn heads(&self, ids: &[DocumentId]) -> Result<Vec<Option<Position>>, StoreError> {
        self.attempt(self.inner().heads(ids)).await.into_result()
    }
}

/// A back end whose documents have faults. Starting it and asking for its health have none.
#[derive(Debug)]
pub struct FaultyProvider {
    documents: FaultyStore,
}

impl FaultyProvider {
    /// Puts faults before this provider.
    #[must_use]
    pub fn new(provider: Arc<dyn StorageProvider>, faults: Faults) -> Self {
        Self { documents: FaultyStore::new(provider, faults) }
    }
}

#[async_trait]
impl StorageProvider for FaultyProvider {
    fn name(&self) -> &'static str {
        self.documents.provider.name()
    }

    fn documents(&self) -> &dyn DocumentStore {
        &self.documents
    }

    async fn initialize(&self) -> Result<(), OpenError> {
        self.documents.provider.initialize().await
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        self.documents.provider.identity().await
    }

    async fn begin_history(&self, seen: u64) -> Result<(), StoreError> {
        self.documents.provider.begin_history(seen).await
    }

    async fn check_health(&self) -> Result<Health, StoreError> {
        self.documents.provider.check_health().await
    }

    async fn try_write(&self) -> Result<(), StoreError> {
        self.documents.provider.try_write().await
    }
}
