//! Reads documents from the store: a snapshot and the deltas after it.

use synckit_engine::delta::Delta;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Position, Seq};
use synckit_engine::snapshot::{Snapshot, SnapshotError};
use synckit_store::{Cause, DeltaPage, DocumentStore, StoreError};

/// How often a load starts over because compaction or deletion moved on under it.
const RESTARTS_MAX: usize = 5;

/// A document as it is stored now; empty if there is none.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Its state.
    pub(crate) snapshot: Snapshot,
    /// How much of it had to be read delta by delta.
    pub(crate) tail: Tail,
}

/// The part of a history that no snapshot covers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tail {
    pub(crate) deltas: u64,
    pub(crate) bytes: u64,
}

impl Tail {
    pub(crate) fn add(&mut self, delta: &Delta) {
        self.deltas += 1;
        self.bytes += delta.changes.size() as u64;
    }
}

/// Reads a document.
pub(crate) async fn load(store: &dyn DocumentStore, id: &DocumentId) -> Result<Loaded, StoreError> {
    for _ in 0..RESTARTS_MAX {
        if let Some(loaded) = load_once(store, id).await? {
            return Ok(loaded);
        }
    }
    let reason = "the document kept changing while it was read";
    Err(StoreError::unavailable(Cause::Conflict, reason))
}

async fn load_once(
    store: &dyn DocumentStore,
    id: &DocumentId,
) -> Result<Option<Loaded>, StoreError> {
    let Some(record) = store.get(id).await? else {
        let mut loaded = Loaded::default();
        loaded.snapshot.position.epoch = store.history();
        return Ok(Some(loaded));
    };
    let mut tail = Tail::default();
    let mut loaded = match record.snapshot {
        Some(stored) => {
            let mut snapshot = Snapshot::decode(&stored.bytes).map_err(|error| match error {
                SnapshotError::NewerVersion(_) => {
                    StoreError::unavailable(Cause::Newer, format!("document {id}: {error}"))
                }
                _ => {
                    StoreError::DocumentDamaged { document: id.clone(), reason: error.to_string() }
                }
            })?;
            snapshot.position = stored.position;
            snapshot
        }
        None => Snapshot::default(),
    };
    loaded.position.epoch = record.head.epoch;
    while loaded.position.seq < record.head.seq {
        match store.deltas_after(id, loaded.position).await? {
            DeltaPage::Deltas(page) => {
                if page.is_empty() {
                    return Ok(None);
                }
                for numbered in page {
                    tail.add(&numbered.delta);
                    loaded.document.apply(&numbered.delta);
                    loaded.position.seq = numbered.seq;
                }
            }
            DeltaPage::Pruned | DeltaPage::OtherEpoch => return Ok(None),
        }
    }
    Ok(Some(Loaded { snapshot: loaded, tail }))
}

/// What a room that is behind needs.
#[derive(Debug)]
pub(crate) enum Missing {
    /// The deltas after its position, one page of them.
    Deltas(Vec<(Seq, Delta)>),
    /// The whole document: its history does not go on from there.
    Document(Snapshot),
}

/// Deltas that a room catches up by; further behind, the whole document is read instead.
const CATCH_UP_DELTAS_MAX: usize = 10_000;

/// Reads on from a position to the end of the history, or the document anew where that is not
/// possible or too much.
pub(crate) async fn missing(
    store: &dyn DocumentStore,
    id: &DocumentId,
    after: Position,
) -> Result<Missing, StoreError> {
    let mut deltas = Vec::new();
    let mut position = after;
    while deltas.len() < CATCH_UP_DELTAS_MAX {
        let DeltaPage::Deltas(page) = store.deltas_after(id, position).await? else { break };
        let Some(last) = page.last() else { return Ok(Missing::Deltas(deltas)) };
        position.seq = last.seq;
        deltas.extend(page.into_iter().map(|numbered| (numbered.seq, numbered.delta)));
    }
    load(store, id).await.map(|loaded| Missing::Document(loaded.snapshot))
}
