//! What every store promises.
//!
//! - **S1** *Append is atomic per document.* A batch may carry many documents; of each, all its
//!   deltas are stored or none.
//! - **S2** *Append is durable on return*, to the level [`DocumentStore::durability`] names.
//! - **S3** *Append is idempotent.* A delta whose id the document already holds changes nothing and
//!   is answered with the number it got the first time. So a lost answer is resolved by
//!   repeating the call. (Compaction removes deltas and with them this memory; a field write that
//!   comes again after that loses to itself.)
//! - **S4** *Seq is gapless and in commit order per document*, however many processes append.
//! - **S5** *Reading is complete*: the deltas after a position are contiguous, or the answer is
//!   [`DeltaPage::Pruned`]; the deltas since a clock are all those not ≤ it.
//! - **S6** *Snapshots never go back; compaction removes only what is safe*: a snapshot at a lower
//!   position than the stored one is ignored; compaction removes exactly the deltas that are ≤
//!   the given clock *and* covered by the stored snapshot.
//! - **S7** *Absence is not an error and an error is not absence.*
//! - **S8** *Delete ends the epoch.* A document made again under the same id has another one. So has
//!   every document of a store that went back, and only what a takeover may have lost of it is a
//!   [takeover](synckit_engine::position::Epoch::is_takeover_of) of the epoch before.
//! - **S9** *Every call ends* within its deadline, with an error whose type says what becomes of
//!   an edit.
//! - **S10** *The first write creates.* A delta for a document that isn't there makes it, in the
//!   same transaction. Reading never does.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use synckit_engine::clock::VectorClock;
use synckit_engine::delta::Delta;
use synckit_engine::ids::DocumentId;
pub use synckit_engine::position::Delivery;
use synckit_engine::position::{Epoch, Position, Seq};

use crate::error::{OpenError, StoreError, Unavailable};

/// Deltas in one page of a read. Bounds the memory of a reader whatever the document's size.
pub const PAGE_DELTAS_MAX: usize = 10_000;

/// Ids in one page of a listing, when the caller names no limit.
pub const PAGE_IDS_DEFAULT: usize = 1_000;

/// What an append survives once it has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: it is gone with the process.
    Process,
    /// The loss of the process and of power: it is on this machine's disk.
    Disk,
    /// As the database server's own settings say, `fsync` and `synchronous_commit` included.
    Server,
}

/// The deltas to append to one document, in order.
#[derive(Debug, Clone)]
pub struct Append {
    /// Where to.
    pub document: DocumentId,
    /// What, in the order in which they are to be numbered; at least one. An id that stands here
    /// a second time is a repeat of the first.
    pub deltas: Vec<Delta>,
}

/// The preconditions of [`DocumentStore::append`] that a caller could break.
///
/// # Errors
/// [`StoreError::Misuse`] when a document stands in the batch twice or gets no delta.
pub fn check_batch(batch: &[Append]) -> Result<(), StoreError> {
    let mut documents = HashSet::with_capacity(batch.len());
    for part in batch {
        let document = &part.document;
        if part.deltas.is_empty() {
            return Err(StoreError::Misuse(format!("append of nothing to document {document}")));
        }
        if !documents.insert(document) {
            return Err(StoreError::Misuse(format!("document {document} is twice in one batch")));
        }
    }
    Ok(())
}

/// What became of one [`Append`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The life of the document it went to.
    pub epoch: Epoch,
    /// One entry for each delta, in its order.
    pub deliveries: Vec<Delivery>,
}

/// A delta with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedDelta {
    /// Its number.
    pub seq: Seq,
    /// The delta.
    pub delta: Delta,
}

/// A part of a document's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeltaPage {
    /// The deltas right after the position that was asked for, without gaps; at most
    /// [`PAGE_DELTAS_MAX`], fewer when they are large. Empty: there are no more.
    Deltas(Vec<NumberedDelta>),
    /// Some of them were compacted away: start from the snapshot, which covers them.
    Pruned,
    /// The document has another epoch now, or is gone, or ends before the position (a database
    /// put back from a backup): load it again.
    OtherEpoch,
}

impl DeltaPage {
    /// The page that a reader at `after` gets out of the stored deltas above it, which may have
    /// gaps, of a document whose last number is `head`.
    #[must_use]
    pub fn from_stored(mut stored: Vec<NumberedDelta>, after: Seq, head: Seq) -> Self {
        if after > head {
            return Self::OtherEpoch;
        }
        let mut expected = after.next();
        let contiguous = stored.iter().take_while(|numbered| {
            let fits = numbered.seq == expected;
            expected = expected.next();
            fits
        });
        let contiguous = contiguous.count();
        stored.truncate(contiguous);
        if stored.is_empty() && after < head { Self::Pruned } else { Self::Deltas(stored) }
    }
}

/// Snapshot bytes as they are stored; the store does not read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// What [`synckit_engine::snapshot::Snapshot::encode`] gave, or any other bytes.
    pub bytes: Vec<u8>,
    /// The document's clock when it was taken: the merge of the clocks of its deltas, of those up to
    /// `position` at least. A store may rely on it.
    pub clock: VectorClock,
    /// The last delta that it covers.
    pub position: Position,
}

/// A document as stored, without its deltas. Snapshot and head are of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentRecord {
    /// Its id.
    pub id: DocumentId,
    /// The last delta that is stored.
    pub head: Position,
    /// The newest snapshot, if there is one.
    pub snapshot: Option<StoredSnapshot>,
    /// When the document was first written.
    pub created_at: SystemTime,
    /// When it was last written.
    pub updated_at: SystemTime,
}

/// How a back end is that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// How long the round trip took that found it so.
    pub latency: Duration,
    /// Why an append would fail, as far as that shows without writing. Reading may go on.
    pub writes_refused: Option<Unavailable>,
}

/// Which database it is, and in which history of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Identity {
    /// Goes into every epoch: another one, and all positions mean something else.
    pub history: u64,
    /// The database and its tables, where processes share it; a copy has others.
    pub tables: Option<[u64; 3]>,
    /// What holds the documents: when it changes they may have been put back from somewhere.
    pub file: u64,
}

/// Documents and their deltas. See the module's text for what each method promises.
#[async_trait]
pub trait DocumentStore: Send + Sync + std::fmt::Debug {
    /// What an append survives once it has returned.
    fn durability(&self) -> Durability;

    /// The epoch of a document that is not there, in the history that was seen last; it differs from
    /// every epoch of a document. Asks nobody.
    fn history(&self) -> Epoch {
        Epoch::default()
    }

    /// Appends to many documents at once (S1–S4, S10). The answer has one entry for each
    /// [`Append`], in order. No document may stand in the batch twice.
    ///
    /// Dropping the future is safe, and leaves open whether the append takes effect.
    ///
    /// # Errors
    /// After an error each document's part is either stored whole or not at all. Which edits to
    /// repeat, to refuse or to leave out [`StoreError`] says.
    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError>;

    /// The document, if there is one.
    async fn get(&self, id: &DocumentId) -> Result<Option<DocumentRecord>, StoreError>;

    /// The document, made empty if there was none.
    async fn get_or_create(&self, id: &DocumentId) -> Result<DocumentRecord, StoreError>;

    /// Whether there is such a document.
    async fn exists(&self, id: &DocumentId) -> Result<bool, StoreError>;

    /// Removes the document with its deltas and snapshot; whether there was one (S8).
    async fn delete(&self, id: &DocumentId) -> Result<bool, StoreError>;

    /// Ids in their byte order, at most `limit`, those greater than `after`. The last id of one
    /// page is the `after` of the next; documents made meanwhile disturb no page.
    async fn document_ids(
        &self,
        limit: usize,
        after: Option<&DocumentId>,
    ) -> Result<Vec<DocumentId>, StoreError>;

    /// The next page of the history after `after` (S5).
    async fn deltas_after(&self, id: &DocumentId, after: Position)
    -> Result<DeltaPage, StoreError>;

    /// A page of the stored deltas that are not ≤ `since`, in order, those numbered above
    /// `after`. Without a clock: all. The last number of one page is the `after` of the next;
    /// only an empty page is the last.
    async fn deltas_since(
        &self,
        id: &DocumentId,
        since: Option<&VectorClock>,
        after: Seq,
    ) -> Result<Vec<NumberedDelta>, StoreError>;

    /// The merge of every clock ever appended; empty for a document that isn't there.
    async fn vector_clock(&self, id: &DocumentId) -> Result<VectorClock, StoreError>;

    /// Stores a snapshot unless a newer one is stored, or the document's epoch is another (S6);
    /// whether it was stored. Its position may not be ahead of the document's head.
    async fn save_snapshot(
        &self,
        id: &DocumentId,
        snapshot: &StoredSnapshot,
    ) -> Result<bool, StoreError>;

    /// The newest snapshot, if there is one.
    async fn snapshot(&self, id: &DocumentId) -> Result<Option<StoredSnapshot>, StoreError>;

    /// Removes the deltas that are ≤ `up_to`, covered by the stored snapshot (S6), and, where a
    /// time is given, stored before it; how many. May work in steps, each within the deadline;
    /// after an error those before it stay done.
    async fn compact(
        &self,
        id: &DocumentId,
        up_to: &VectorClock,
        stored_before: Option<SystemTime>,
    ) -> Result<u64, StoreError>;

    /// Claims the compaction of a document for `holder`, for a time; whether nobody else holds it.
    /// Only spares double work: two that compact at once do no harm, by S6. Where one process alone
    /// can use the store, there is nobody else.
    async fn claim_compaction(
        &self,
        id: &DocumentId,
        holder: &str,
        time: Duration,
    ) -> Result<bool, StoreError> {
        let _ = (id, holder, time);
        Ok(true)
    }

    /// The heads of many documents in one query; `None` for those that aren't there.
    async fn heads(&self, ids: &[DocumentId]) -> Result<Vec<Option<Position>>, StoreError>;
}

/// A back end as a whole.
#[async_trait]
pub trait StorageProvider: Send + Sync + std::fmt::Debug {
    /// The name under which configuration, health and logs know it.
    fn name(&self) -> &'static str;

    /// The documents.
    fn documents(&self) -> &dyn DocumentStore;

    /// Makes it ready: checks the connection with a real round trip and brings the schema up to
    /// date. Called once, before anything else.
    async fn initialize(&self) -> Result<(), OpenError>;

    /// Which database it is now. Cheap enough to be asked twice a second.
    async fn identity(&self) -> Result<Identity, StoreError> {
        Ok(Identity::default())
    }

    /// Begins another history, unless that has happened since `seen` was the
    /// [`Identity::history`]: what was numbered before counts for nothing from now on. For whoever
    /// finds that the store went back, or has put it back.
    async fn begin_history(&self, seen: u64) -> Result<(), StoreError> {
        let _ = seen;
        Ok(())
    }

    /// What [`StorageProvider::initialize`] waits for at this moment, if it is something that others
    /// have to end.
    fn waits_for(&self) -> Option<String> {
        None
    }

    /// One round trip to what the store depends on, and a look at what appends need. Writes nothing.
    async fn check_health(&self) -> Result<Health, StoreError>;

    /// Writes a few bytes as durably as an append and takes them away again. Tells whether appends
    /// go on after one has failed; not meant for times when all is well.
    async fn try_write(&self) -> Result<(), StoreError>;
}
