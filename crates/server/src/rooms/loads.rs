//! Who reads documents from the store, and when: a few at a time, in the order in which they came.

use std::sync::Arc;
use std::time::Duration;

use synckit_engine::ids::DocumentId;
use synckit_engine::position::Position;
use synckit_store::{StorageProvider, StoreError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::backoff::Backoff;
use super::gate::Gate;
use super::loader::{self, Loaded, Missing};

/// How long the first readers of a document wait for a store that does not answer.
const LOAD_DEADLINE: Duration = Duration::from_secs(8);

/// A read that takes so long may be one of a store that hangs, so that is found out.
const SUSPECT_AFTER: Duration = Duration::from_secs(2);

/// One for all rooms of a node.
#[derive(Debug)]
pub(crate) struct Loads {
    provider: Arc<dyn StorageProvider>,
    gate: Gate,
    /// Gives places in the order in which they were asked for.
    places: Semaphore,
}

impl Loads {
    /// `at_once`: documents that are read at the same time. More make each of them slower, and
    /// what else wants to read waits behind them.
    pub(crate) fn new(provider: Arc<dyn StorageProvider>, gate: Gate, at_once: usize) -> Self {
        Self { provider, gate, places: Semaphore::new(at_once) }
    }

    /// Reads a document, as often as it takes while the store may come back.
    pub(super) async fn load(&self, document: &DocumentId) -> Result<Loaded, StoreError> {
        let mut backoff = Backoff::new();
        let mut failing_since: Option<Instant> = None;
        loop {
            let failed_for = failing_since.map_or(Duration::ZERO, |since| since.elapsed());
            let patience = LOAD_DEADLINE.saturating_sub(failed_for);
            tokio::select! {
                biased;
                read = self.in_turn(loader::load(self.provider.documents(), document)) => match read {
                    Err(error) if error.is_unavailable() && !patience.is_zero() => {
                        tracing::debug!(document.id = %document, error = %error, "load failed");
                    }
                    read => return read,
                },
                error = self.gate.reads_lost(patience) => return Err(error),
            }
            failing_since.get_or_insert_with(Instant::now);
            backoff.pause().await;
        }
    }

    /// One try to read on from a position.
    pub(super) async fn missing(
        &self,
        document: &DocumentId,
        after: Position,
    ) -> Result<Missing, StoreError> {
        self.in_turn(loader::missing(self.provider.documents(), document, after)).await
    }

    /// One try to read a document.
    pub(super) async fn whole(&self, document: &DocumentId) -> Result<Loaded, StoreError> {
        self.in_turn(loader::load(self.provider.documents(), document)).await
    }

    async fn in_turn<T>(
        &self,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let _place = self.turn().await;
        let mut read = std::pin::pin!(read);
        let outcome = tokio::select! {
            biased;
            outcome = &mut read => outcome,
            () = tokio::time::sleep(SUSPECT_AFTER) => {
                self.gate.suspect();
                read.await
            }
        };
        if let Err(error) = &outcome {
            self.gate.read_failed(error);
        }
        outcome
    }

    async fn turn(&self) -> SemaphorePermit<'_> {
        loop {
            self.gate.reads_open().await;
            let place = self.places.acquire().await.expect("nobody closes it");
            // While it waited the store may have gone.
            if !self.gate.are_reads_shut() {
                return place;
            }
        }
    }
}
