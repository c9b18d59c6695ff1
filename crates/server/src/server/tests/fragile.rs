//! A store in memory that panics, or waits, where a test says so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use synckit_engine::clock::VectorClock;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Position, Seq};
use synckit_store::memory::MemoryProvider;
use synckit_store::{
    Append, Appended, DeltaPage, DocumentRecord, DocumentStore, Durability, Health, NumberedDelta,
    OpenError, StorageProvider, StoreError, StoredSnapshot,
};
use tokio::sync::Semaphore;

/// The calls that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Call {
    Append,
    Get,
    DeltasAfter,
}

/// What a test has the store do.
#[derive(Debug, Default)]
pub(super) struct Faults {
    panics: Mutex<HashMap<Call, usize>>,
    /// Calls wait here while a test holds it.
    gates: Mutex<HashMap<Call, Arc<Semaphore>>>,
}

impl Faults {
    /// The next so many calls panic.
    pub(super) fn panic_in(&self, call: Call, times: usize) {
        self.panics.lock().insert(call, times);
    }

    /// Calls wait from now on, until they get a permit each.
    pub(super) fn hold(&self, call: Call) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.gates.lock().insert(call, Arc::clone(&gate));
        gate
    }

    async fn meet(&self, call: Call) {
        let gate = self.gates.lock().get(&call).cloned();
        if let Some(gate) = gate {
            gate.acquire().await.expect("never closed").forget();
        }
        let panics = match self.panics.lock().get_mut(&call) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        };
        assert!(!panics, "on purpose, in {call:?}");
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct FragileStore {
    pub(super) inner: Arc<MemoryProvider>,
    pub(super) faults: Arc<Faults>,
}

impl FragileStore {
    fn store(&self) -> &dyn DocumentStore {
        self.inner.documents()
    }
}

#[async_trait]
impl StorageProvider for FragileStore {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn documents(&self) -> &dyn DocumentStore {
        self
    }

    async fn initialize(&self) -> Result<(), OpenError> {
        Ok(())
    }

    async fn check_health(&self) -> Result<Health, StoreError> {
        self.inner.check_health().await
    }

    async fn try_write(&self) -> Result<(), StoreError> {
        self.inner.try_write().await
    }
}

#[async_trait]
impl DocumentStore for FragileStore {
    fn durability(&self) -> Durability {
        self.store().durability()
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        self.faults.meet(Call::Append).await;
        self.store().append(batch).await
    }

    async fn get(&self, id: &DocumentId) -> Result<Option<DocumentRecord>, StoreError> {
        self.faults.meet(Call::Get).await;
        self.store().get(id).await
    }

    async fn get_or_create(&self, id: &DocumentId) -> Result<DocumentRecord, StoreError> {
        self.store().get_or_create(id).await
    }

    async fn exists(&self, id: &DocumentId) -> Result<bool, StoreError> {
        self.store().exists(id).await
    }

    async fn delete(&self, id: &DocumentId) -> Result<bool, StoreError> {
        self.store().delete(id).await
    }

    async fn document_ids(
        &self,
        limit: usize,
        after: Option<&DocumentId>,
    ) -> Result<Vec<DocumentId>, StoreError> {
        self.store().document_ids(limit, after).await
    }

    async fn deltas_after(
        &self,
        id: &DocumentId,
        after: Position,
    ) -> Result<DeltaPage, StoreError> {
        self.faults.meet(Call::DeltasAfter).await;
        self.store().deltas_after(id, after).await
    }

    async fn deltas_since(
        &self,
        id: &DocumentId,
        since: Option<&VectorClock>,
        after: Seq,
    ) -> Result<Vec<NumberedDelta>, StoreError> {
        self.store().deltas_since(id, since, after).await
    }

    async fn vector_clock(&self, id: &DocumentId) -> Result<VectorClock, StoreError> {
        self.store().vector_clock(id).await
    }

    async fn save_snapshot(
        &self,
        id: &DocumentId,
        snapshot: &StoredSnapshot,
    ) -> Result<bool, StoreError> {
        self.store().save_snapshot(id, snapshot).await
    }

    async fn snapshot(&self, id: &DocumentId) -> Result<Option<StoredSnapshot>, StoreError> {
        self.store().snapshot(id).await
    }

    async fn compact(
        &self,
        id: &DocumentId,
        up_to: &VectorClock,
        stored_before: Option<SystemTime>,
    ) -> Result<u64, StoreError> {
        self.store().compact(id, up_to, stored_before).await
    }

    async fn claim_compaction(
        &self,
        id: &DocumentId,
        holder: &str,
        time: Duration,
    ) -> Result<bool, StoreError> {
        self.store().claim_compaction(id, holder, time).await
    }

    async fn heads(&self, ids: &[DocumentId]) -> Result<Vec<Option<Position>>, StoreError> {
        self.store().heads(ids).await
    }
}
