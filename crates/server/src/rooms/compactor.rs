//! Snapshots and compaction, behind everything else.
//!
//! One task of a node takes one document at a time: it reads the document from the store, stores a
//! snapshot, and removes the deltas that the snapshot covers. Rooms only say that a tail has grown
//! long; they and their readers never wait. A crash between the steps loses and doubles nothing: a
//! snapshot without its compaction is only a shorter load, and deltas are only removed under a
//! stored snapshot.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use synckit_engine::ids::{DocumentId, NodeId};
use synckit_store::{StorageProvider, StoreError, StoredSnapshot};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::gate::Gate;
use super::loader::{self, Tail};
use crate::config::{CompactionConfig, History};
use crate::supervision::Supervisor;
use crate::time::{millis, now_millis};

/// Documents waiting for compaction. When full an offer is dropped: the room makes it again when
/// the tail has grown by as much once more.
const QUEUE: usize = 1_024;

/// Documents waiting that nobody has open any more. When full an offer is dropped: the tail is found
/// when the document is opened and left again. A community may leave all at once.
const RELEASED_QUEUE: usize = 16_384;

/// A tail that is worth a snapshot when the document is left: reading so many deltas takes a
/// multiple of reading a snapshot.
const RELEASED_TAIL_DELTAS: u64 = 50;

/// How long a document is claimed. A node that dies leaves it to others after that; one that is
/// merely slow does no harm then, since the store takes no older snapshot.
const CLAIM: Duration = Duration::from_secs(60);

/// A delta may be dated this much behind its arrival on another node's clock.
const CLOCK_MARGIN: Duration = Duration::from_secs(3_600);

/// Takes documents whose tail has grown long.
#[derive(Debug, Clone)]
pub(crate) struct Compactor {
    queue: mpsc::Sender<DocumentId>,
    released: mpsc::Sender<DocumentId>,
    config: CompactionConfig,
}

impl Compactor {
    /// Starts the task on `tasks`; it ends with `stop`.
    pub(crate) fn start(
        provider: Arc<dyn StorageProvider>,
        gate: Gate,
        node: NodeId,
        config: CompactionConfig,
        stop: CancellationToken,
        tasks: &TaskTracker,
        supervisor: &Supervisor,
    ) -> Self {
        let (queue, documents) = mpsc::channel(QUEUE);
        let (released, left) = mpsc::channel(RELEASED_QUEUE);
        let task = Task { provider, gate, node, config: config.clone(), documents, left, stop };
        // Safe to run again: cut short anywhere it leaves nothing half done.
        supervisor.spawn(tasks, "compactor", task, |task| Box::pin(task.run()));
        Self { queue, released, config }
    }

    /// Whether a tail this long is worth a snapshot.
    pub(super) fn wants(&self, tail: Tail) -> bool {
        tail.deltas >= self.config.tail_deltas || tail.bytes >= self.config.tail_bytes
    }

    /// Asks for a document to be compacted some time.
    pub(super) fn offer(&self, document: &DocumentId) {
        let _ = self.queue.try_send(document.clone());
    }

    /// Asks for a snapshot of a document that nobody has open any more, if that makes opening it
    /// again cheaper.
    pub(super) fn offer_released(&self, document: &DocumentId, tail: Tail) {
        if tail.deltas >= RELEASED_TAIL_DELTAS.min(self.config.tail_deltas) {
            let _ = self.released.try_send(document.clone());
        }
    }
}

#[derive(Debug)]
struct Task {
    provider: Arc<dyn StorageProvider>,
    gate: Gate,
    node: NodeId,
    config: CompactionConfig,
    documents: mpsc::Receiver<DocumentId>,
    /// Of rooms that are gone.
    left: mpsc::Receiver<DocumentId>,
    stop: CancellationToken,
}

impl Task {
    async fn run(&mut self) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(self.compact_all()).await;
    }

    async fn compact_all(&mut self) {
        loop {
            let document = tokio::select! {
                biased;
                Some(document) = self.documents.recv() => document,
                Some(document) = self.left.recv() => document,
                else => return,
            };
            self.gate.writes_open().await;
            if let Err(error) = self.compact(&document).await {
                // An outage has its own line.
                self.gate.write_failed(&error);
                if error.is_unavailable() {
                    tracing::debug!(document.id = %document, error = %error, "compaction failed");
                } else {
                    tracing::warn!(document.id = %document, error = %error, "compaction failed");
                }
            }
        }
    }

    async fn compact(&self, document: &DocumentId) -> Result<(), StoreError> {
        let store = self.provider.documents();
        if !store.claim_compaction(document, self.node.as_str(), CLAIM).await? {
            return Ok(());
        }
        let loader::Loaded { mut snapshot, .. } = loader::load(store, document).await?;
        let horizon = millis(self.config.tombstone_horizon + CLOCK_MARGIN);
        let forgotten = snapshot.document.forget_tombstones(now_millis().saturating_sub(horizon));
        let position = snapshot.position;
        let clock = snapshot.document.clock().clone();
        let damaged =
            |reason: String| StoreError::DocumentDamaged { document: document.clone(), reason };
        let bytes = tokio::task::spawn_blocking(move || snapshot.encode())
            .await
            .map_err(|error| damaged(error.to_string()))?
            .map_err(|error| damaged(error.to_string()))?;
        let size = bytes.len();
        let stored = StoredSnapshot { bytes, clock: clock.clone(), position };
        if !store.save_snapshot(document, &stored).await? {
            return Ok(());
        }
        let before = match self.config.history {
            History::None => None,
            History::For(time) => Some(SystemTime::now() - time),
            History::Forever => {
                tracing::debug!(document.id = %document, size_bytes = size, "snapshot stored");
                return Ok(());
            }
        };
        let removed = store.compact(document, &clock, before).await?;
        tracing::debug!(
            document.id = %document, size_bytes = size, removed, forgotten, "document compacted"
        );
        Ok(())
    }
}
