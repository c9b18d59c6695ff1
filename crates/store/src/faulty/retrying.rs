//! The caller that the contract has in mind: it repeats a call while the store is not
//! available.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use synckit_engine::clock::VectorClock;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Epoch, Position, Seq};

use crate::contract::{
    Append, Appended, Delivery, DeltaPage, DocumentRecord, DocumentStore, Durability,
    NumberedDelta, StoredSnapshot,
};
use crate::error::{Cause, StoreError};

use super::{Attempt, FaultyStore};

/// How often a call is tried. With the faults that are usual here, nobody gets that far.
const ATTEMPTS_MAX: usize = 100;

/// A faulty store, repeated until it answers: for its caller there are no faults.
///
/// A repeat after a lost answer tells the caller less than the first would have: that the deltas
/// are there, not that they were new; that there is no document, not that it was deleted. Since
/// this type sees the lost answers too, it gives the first one back, after checking that the repeat
/// said what the contract wants of it.
#[derive(Debug, Clone)]
pub struct RetryingStore {
    store: FaultyStore,
}

/// Tries until there is an answer. Lost ones are joined with what comes after them.
macro_rules! retry {
    ($self:ident, $call:expr, $join:expr) => {{
        let mut lost = None;
        let mut last_error = None;
        for _ in 0..ATTEMPTS_MAX {
            match $self.store.attempt($call).await {
                Attempt::Failed(error) => last_error = Some(error),
                Attempt::Lost(Ok(answer), error) => {
                    lost = Some($join(lost, answer));
                    last_error = Some(error);
                }
                Attempt::Lost(Err(_), error) => last_error = Some(error),
                Attempt::Answered(Ok(answer)) => return Ok($join(lost, answer)),
                Attempt::Answered(Err(error)) if error.is_unavailable() => last_error = Some(error),
                Attempt::Answered(Err(error)) => return Err(error),
            }
        }
        Err(last_error.unwrap_or_else(|| StoreError::unavailable(Cause::Other, "never tried")))
    }};
}

impl RetryingStore {
    /// Repeats the calls of this store.
    #[must_use]
    pub fn new(store: FaultyStore) -> Self {
        Self { store }
    }

    fn inner(&self) -> &dyn DocumentStore {
        self.store.inner()
    }
}

/// Reading twice is reading.
fn newest<T>(_lost: Option<T>, answer: T) -> T {
    answer
}

/// Whether one of the tries did it.
fn any(lost: Option<bool>, answer: bool) -> bool {
    lost.unwrap_or(false) || answer
}

/// The answer of the first try, which S3 lets the caller do without: the repeat has its numbers. A
/// document that was deleted in between knows nothing of the first.
///
/// # Panics
/// When S3 does not hold.
fn first(lost: Option<Vec<Appended>>, answer: Vec<Appended>) -> Vec<Appended> {
    let Some(mut lost) = lost else { return answer };
    for (lost, answer) in lost.iter_mut().zip(answer) {
        if lost.epoch != answer.epoch {
            *lost = answer;
            continue;
        }
        let numbers = lost.deliveries.iter().map(|delivery| match delivery {
            Delivery::Stored(seq) | Delivery::Repeated(seq) => Delivery::Repeated(*seq),
        });
        let expected: Vec<Delivery> = numbers.collect();
        assert_eq!(answer.deliveries, expected, "S3: a repeat is answered with the first numbers");
    }
    lost
}

#[async_trait]
impl DocumentStore for RetryingStore {
    fn durability(&self) -> Durability {
        self.inner().durability()
    }

    fn history(&self) -> Epoch {
        self.inner().history()
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        retry!(self, self.inner().append(batch), first)
    }

    async fn get(&self, id: &DocumentId) -> Result<Option<DocumentRecord>, StoreError> {
        retry!(self, self.inner().get(id), newest)
    }

    async fn get_or_create(&self, id: &DocumentId) -> Result<DocumentRecord, StoreError> {
        retry!(self, self.inner().get_or_create(id), newest)
    }

    async fn exists(&self, id: &DocumentId) -> Result<bool, StoreError> {
        retry!(self, self.inner().exists(id), newest)
    }

    async fn delete(&self, id: &DocumentId) -> Result<bool, StoreError> {
        retry!(self, self.inner().delete(id), any)
    }

    async fn document_ids(
        &self,
        limit: usize,
        after: Option<&DocumentId>,
    ) -> Result<Vec<DocumentId>, StoreError> {
        retry!(self, self.inner().document_ids(limit, after), newest)
    }

    async fn deltas_after(
        &self,
        id: &DocumentId,
        after: Position,
    ) -> Result<DeltaPage, StoreError> {
        retry!(self, self.inner().deltas_after(id, after), newest)
    }

    async fn deltas_since(
        &self,
        id: &DocumentId,
        since: Option<&VectorClock>,
        after: Seq,
    ) -> Result<Vec<NumberedDelta>, StoreError> {
        retry!(self, self.inner().deltas_since(id, since, after), newest)
    }

    async fn vector_clock(&self, id: &DocumentId) -> Result<VectorClock, StoreError> {
        retry!(self, self.inner().vector_clock(id), newest)
    }

    async fn save_snapshot(
        &self,
        id: &DocumentId,
        snapshot: &StoredSnapshot,
    ) -> Result<bool, StoreError> {
        retry!(self, self.inner().save_snapshot(id, snapshot), any)
    }

    async fn snapshot(&self, id: &DocumentId) -> Result<Option<StoredSnapshot>, StoreError> {
        retry!(self, self.inner().snapshot(id), newest)
    }

    async fn compact(
        &self,
        id: &DocumentId,
        up_to: &VectorClock,
        stored_before: Option<SystemTime>,
    ) -> Result<u64, StoreError> {
        // What one try has removed, the next finds no more.
        let sum = |lost: Option<u64>, answer| lost.unwrap_or(0) + answer;
        retry!(self, self.inner().compact(id, up_to, stored_before), sum)
    }

    async fn claim_compaction(
        &self,
        id: &DocumentId,
        holder: &str,
        time: Duration,
    ) -> Result<bool, StoreError> {
        retry!(self, self.inner().claim_compaction(id, holder, time), newest)
    }

    async fn heads(&self, ids: &[DocumentId]) -> Result<Vec<Option<Position>>, StoreError> {
        retry!(self, self.inner().heads(ids), newest)
    }
}
