//! The store of a server without a database: everything is gone with the process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use parking_lot::Mutex;
use synckit_engine::clock::VectorClock;
use synckit_engine::delta::{Delta, DeltaId};
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Epoch, Position, Seq};

use crate::contract::{
    Append, Appended, Delivery, DeltaPage, DocumentRecord, DocumentStore, Durability, Health,
    NumberedDelta, PAGE_DELTAS_MAX, StorageProvider, StoredSnapshot, check_batch,
};
use crate::error::{OpenError, StoreError};

/// Documents in the memory of this process.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    documents: BTreeMap<DocumentId, MemoryDocument>,
    next_epoch: u64,
}

#[derive(Debug)]
struct MemoryDocument {
    epoch: Epoch,
    head: Seq,
    clock: VectorClock,
    snapshot: Option<StoredSnapshot>,
    created_at: SystemTime,
    updated_at: SystemTime,
    deltas: BTreeMap<Seq, StoredDelta>,
    seqs: HashMap<DeltaId, Seq>,
}

#[derive(Debug)]
struct StoredDelta {
    delta: Delta,
    at: SystemTime,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        // A client may still know a position of the process before this one. Epochs that start
        // at the time of day keep it from being taken for a position of this one.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let next_epoch = u64::try_from(since_1970.as_millis()).unwrap_or(0).max(1);
        Self { state: Mutex::new(State { documents: BTreeMap::new(), next_epoch }) }
    }
}

impl State {
    fn get_or_create(&mut self, id: &DocumentId) -> &mut MemoryDocument {
        let next_epoch = &mut self.next_epoch;
        self.documents.entry(id.clone()).or_insert_with(|| {
            let epoch = Epoch(*next_epoch);
            *next_epoch += 1;
            let now = SystemTime::now();
            MemoryDocument {
                epoch,
                head: Seq(0),
                clock: VectorClock::new(),
                snapshot: None,
                created_at: now,
                updated_at: now,
                deltas: BTreeMap::new(),
                seqs: HashMap::new(),
            }
        })
    }
}

impl MemoryDocument {
    fn record(&self, id: &DocumentId) -> DocumentRecord {
        DocumentRecord {
            id: id.clone(),
            head: self.position(),
            snapshot: self.snapshot.clone(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    fn position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.head }
    }

    fn append(&mut self, delta: &Delta) -> Delivery {
        if let Some(seq) = self.seqs.get(&delta.id) {
            return Delivery::Repeated(*seq);
        }
        self.head = self.head.next();
        self.clock.raise(&delta.client, delta.number);
        self.updated_at = SystemTime::now();
        self.seqs.insert(delta.id.clone(), self.head);
        let stored = StoredDelta { delta: delta.clone(), at: self.updated_at };
        self.deltas.insert(self.head, stored);
        Delivery::Stored(self.head)
    }

    fn after(&self, after: Seq) -> impl Iterator<Item = NumberedDelta> {
        self.deltas
            .range((Bound::Excluded(after), Bound::Unbounded))
            .map(|(seq, stored)| NumberedDelta { seq: *seq, delta: stored.delta.clone() })
    }
}

#[async_trait]
impl DocumentStore for MemoryStore {
    fn durability(&self) -> Durability {
        Durability::Process
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        check_batch(batch)?;
        let mut state = self.state.lock();
        let append = |part: &Append| {
            let document = state.get_or_create(&part.document);
            let deliveries = part.deltas.iter().map(|delta| document.append(delta)).collect();
            Appended { epoch: document.epoch, deliveries }
        };
        Ok(batch.iter().map(append).collect())
    }

    async fn get(&self, id: &DocumentId) -> Result<Option<DocumentRecord>, StoreError> {
        Ok(self.state.lock().documents.get(id).map(|document| document.record(id)))
    }

    async fn get_or_create(&self, id: &DocumentId) -> Result<DocumentRecord, StoreError> {
        Ok(self.state.lock().get_or_create(id).record(id))
    }

    async fn exists(&self, id: &DocumentId) -> Result<bool, StoreError> {
        Ok(self.state.lock().documents.contains_key(id))
    }

    async fn delete(&self, id: &DocumentId) -> Result<bool, StoreError> {
        Ok(self.state.lock().documents.remove(id).is_some())
    }

    async fn document_ids(
        &self,
        limit: usize,
        after: Option<&DocumentId>,
    ) -> Result<Vec<DocumentId>, StoreError> {
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.state.lock();
        let ids = state.documents.range::<DocumentId, _>((first, Bound::Unbounded));
        Ok(ids.take(limit).map(|(id, _)| id.clone()).collect())
    }

    async fn deltas_after(
        &self,
        id: &DocumentId,
        after: Position,
    ) -> Result<DeltaPage, StoreError> {
        let state = self.state.lock();
        let document = match state.documents.get(id) {
            Some(document) if document.epoch == after.epoch => document,
            _ => return Ok(DeltaPage::OtherEpoch),
        };
        let page = document.after(after.seq).take(PAGE_DELTAS_MAX).collect();
        Ok(DeltaPage::from_stored(page, after.seq, document.head))
    }

    async fn deltas_since(
        &self,
        id: &DocumentId,
        since: Option<&VectorClock>,
        after: Seq,
    ) -> Result<Vec<NumberedDelta>, StoreError> {
        let state = self.state.lock();
        let Some(document) = state.documents.get(id) else {
            return Ok(Vec::new());
        };
        let seen =
            |delta: &Delta| since.is_some_and(|since| since.has_seen(&delta.client, delta.number));
        let deltas = document.after(after).filter(|numbered| !seen(&numbered.delta));
        Ok(deltas.take(PAGE_DELTAS_MAX).collect())
    }

    async fn vector_clock(&self, id: &DocumentId) -> Result<VectorClock, StoreError> {
        let state = self.state.lock();
        Ok(state.documents.get(id).map_or_else(VectorClock::new, |document| document.clock.clone()))
    }

    async fn save_snapshot(
        &self,
        id: &DocumentId,
        snapshot: &StoredSnapshot,
    ) -> Result<bool, StoreError> {
        let mut state = self.state.lock();
        let document = match state.documents.get_mut(id) {
            Some(document) if document.epoch == snapshot.position.epoch => document,
            _ => return Ok(false),
        };
        if snapshot.position.seq > document.head {
            return Err(StoreError::snapshot_ahead(id, snapshot.position.seq, document.head));
        }
        let newest = document.snapshot.as_ref().map(|stored| stored.position.seq);
        if newest > Some(snapshot.position.seq) {
            return Ok(false);
        }
        document.snapshot = Some(snapshot.clone());
        Ok(true)
    }

    async fn snapshot(&self, id: &DocumentId) -> Result<Option<StoredSnapshot>, StoreError> {
        let state = self.state.lock();
        Ok(state.documents.get(id).and_then(|document| document.snapshot.clone()))
    }

    async fn compact(
        &self,
        id: &DocumentId,
        up_to: &VectorClock,
        stored_before: Option<SystemTime>,
    ) -> Result<u64, StoreError> {
        let mut state = self.state.lock();
        let Some(document) = state.documents.get_mut(id) else {
            return Ok(0);
        };
        let Some(covered) = document.snapshot.as_ref().map(|stored| stored.position.seq) else {
            return Ok(0);
        };
        let safe = document.deltas.range(..=covered).filter(|(_, stored)| {
            up_to.has_seen(&stored.delta.client, stored.delta.number)
                && stored_before.is_none_or(|time| stored.at < time)
        });
        let safe: HashSet<Seq> = safe.map(|(seq, _)| *seq).collect();
        document.deltas.retain(|seq, _| !safe.contains(seq));
        document.seqs.retain(|_, seq| !safe.contains(seq));
        Ok(safe.len() as u64)
    }

    async fn heads(&self, ids: &[DocumentId]) -> Result<Vec<Option<Position>>, StoreError> {
        let state = self.state.lock();
        Ok(ids.iter().map(|id| state.documents.get(id).map(MemoryDocument::position)).collect())
    }
}

/// The back end `inmemory`.
#[derive(Debug, Default)]
pub struct MemoryProvider {
    documents: MemoryStore,
}

impl MemoryProvider {
    /// A back end without documents.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl StorageProvider for MemoryProvider {
    fn name(&self) -> &'static str {
        "inmemory"
    }

    fn documents(&self) -> &dyn DocumentStore {
        &self.documents
    }

    async fn initialize(&self) -> Result<(), OpenError> {
        Ok(())
    }

    async fn check_health(&self) -> Result<Health, StoreError> {
        let start = Instant::now();
        drop(self.documents.state.lock());
        Ok(Health { latency: start.elapsed(), writes_refused: None })
    }

    async fn try_write(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
