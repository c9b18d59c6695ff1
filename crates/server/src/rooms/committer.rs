//! Group commit. Rooms give their edits to a lane; a lane stores everything that queued while its
//! last commit ran in one append. No timer: an idle lane adds no delay, a busy one makes large
//! batches by itself.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use synckit_engine::delta::Delta;
use synckit_engine::ids::DocumentId;
use synckit_engine::room::{StoredEdit, TicketId};
use synckit_engine::wire::ErrorCode;
use synckit_store::{Append, Appended, StorageProvider, StoreError};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::input::RoomInput;
use super::reply::Reply;
use crate::supervision::Supervisor;

/// Edits waiting for one lane. A full lane makes rooms wait, and so in the end the sockets.
const LANE_QUEUE: usize = 4_096;

/// Edits in one append: larger ones no longer raise throughput, only the wait of the first.
const BATCH_EDITS_MAX: usize = 512;

/// One edit on its way to the store.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) document: DocumentId,
    pub(crate) id: TicketId,
    pub(crate) deltas: Vec<Delta>,
    /// When it was given to the lane.
    pub(crate) since: Instant,
    pub(crate) reply: Reply,
}

/// The lanes. A document's edits all go through one of them, in order.
#[derive(Debug, Clone)]
pub(crate) struct Committer {
    lanes: Arc<[mpsc::Sender<Ticket>]>,
    hasher: Arc<RandomState>,
}

impl Committer {
    /// Starts the lanes on `tasks`. They end when the last [`Committer`] is gone.
    pub(crate) fn start(
        provider: &Arc<dyn StorageProvider>,
        lanes: usize,
        write_hold: Duration,
        tasks: &TaskTracker,
        supervisor: &Supervisor,
    ) -> Self {
        let lanes = (0..lanes)
            .map(|_| {
                let (sender, queue) = mpsc::channel(LANE_QUEUE);
                let provider = Arc::clone(provider);
                let lane = Lane { provider, write_hold, queue, waiting: VecDeque::new() };
                // Safe to run again: what it held in hand is answered as not stored, what waits
                // still waits, in order.
                supervisor.spawn(tasks, "lane", lane, |lane| Box::pin(lane.run()));
                sender
            })
            .collect();
        Self { lanes, hasher: Arc::new(RandomState::new()) }
    }

    /// The lane of a document.
    pub(crate) fn lane(&self, document: &DocumentId) -> mpsc::Sender<Ticket> {
        let lanes = self.lanes.len() as u64;
        let at = usize::try_from(self.hasher.hash_one(document) % lanes).unwrap_or_default();
        self.lanes[at].clone()
    }
}

#[derive(Debug)]
struct Lane {
    provider: Arc<dyn StorageProvider>,
    write_hold: Duration,
    queue: mpsc::Receiver<Ticket>,
    /// What was taken from the queue and is in no batch yet.
    waiting: VecDeque<Ticket>,
}

impl Lane {
    async fn run(&mut self) {
        let mut received = Vec::with_capacity(BATCH_EDITS_MAX);
        let mut answers = Answers::default();
        loop {
            if self.waiting.is_empty() {
                if self.queue.is_empty() {
                    answers.give();
                }
                if self.queue.recv_many(&mut received, BATCH_EDITS_MAX).await == 0 {
                    return;
                }
            } else {
                // What waits must not wait for company.
                while received.len() < BATCH_EDITS_MAX
                    && let Ok(ticket) = self.queue.try_recv()
                {
                    received.push(ticket);
                }
            }
            self.waiting.extend(received.drain(..));
            let batch = Batch::take(&mut self.waiting);
            self.commit(batch, &mut answers).await;
        }
    }

    /// Stores a batch, however often that takes within what each of its edits may wait. The answers
    /// of the batch before are given when this one is under way, so that the store need not wait.
    async fn commit(&self, mut batch: Batch, answers: &mut Answers) {
        let mut backoff = Backoff::new();
        while !batch.documents.is_empty() {
            let appends = batch.appends();
            let append = self.provider.documents().append(&appends);
            let (outcome, ()) = tokio::join!(biased; append, async { answers.give() });
            match outcome {
                Ok(appended) => {
                    answers.0 = Some((batch, appends, appended));
                    return;
                }
                Err(StoreError::DocumentDamaged { document, reason })
                    if batch.documents.iter().any(|edits| edits.document == document) =>
                {
                    batch.restore(appends);
                    batch.give_up_on(&document, &reason);
                }
                Err(StoreError::EditRefused(reason)) => {
                    batch.restore(appends);
                    let Some(halves) = batch.split() else {
                        return batch.refuse(&reason);
                    };
                    // One bad edit must not take others with it.
                    for half in halves {
                        Box::pin(self.commit(half, answers)).await;
                    }
                    return;
                }
                Err(error) => {
                    batch.restore(appends);
                    tracing::warn!(error = %error, "append failed, trying again");
                    batch.refuse_older_than(self.write_hold);
                    if !batch.documents.is_empty() {
                        backoff.pause().await;
                    }
                }
            }
        }
    }
}

/// Answers of a batch that is stored.
#[derive(Default)]
struct Answers(Option<(Batch, Vec<Append>, Vec<Appended>)>);

impl Answers {
    fn give(&mut self) {
        if let Some((batch, appends, appended)) = self.0.take() {
            batch.stored(appends, appended);
        }
    }
}

/// The edits of one append, by document.
#[derive(Debug, Default)]
struct Batch {
    documents: Vec<DocumentEdits>,
}

#[derive(Debug)]
struct DocumentEdits {
    document: DocumentId,
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    id: TicketId,
    since: Instant,
    reply: Reply,
    deltas: Vec<Delta>,
    /// How many there are while they are lent to an append.
    count: usize,
}

impl Batch {
    /// Takes the next edits. An edit that repeats a delta of the same batch stays behind with all
    /// that follow it in its document: the store must see the first one's outcome.
    fn take(waiting: &mut VecDeque<Ticket>) -> Self {
        let mut batch = Self::default();
        let mut places: HashMap<DocumentId, usize> = HashMap::new();
        let mut seen = HashSet::new();
        let mut behind = HashSet::new();
        let mut later = VecDeque::new();
        let mut taken = 0;
        while taken < BATCH_EDITS_MAX
            && let Some(ticket) = waiting.pop_front()
        {
            let repeats = ticket
                .deltas
                .iter()
                .any(|delta| seen.contains(&(ticket.document.clone(), delta.id.clone())));
            if repeats || behind.contains(&ticket.document) {
                behind.insert(ticket.document.clone());
                later.push_back(ticket);
                continue;
            }
            taken += 1;
            seen.extend(
                ticket.deltas.iter().map(|delta| (ticket.document.clone(), delta.id.clone())),
            );
            let place = *places.entry(ticket.document.clone()).or_insert_with(|| {
                batch
                    .documents
                    .push(DocumentEdits { document: ticket.document.clone(), edits: Vec::new() });
                batch.documents.len() - 1
            });
            let count = ticket.deltas.len();
            let Ticket { id, since, deltas, reply, .. } = ticket;
            batch.documents[place].edits.push(Edit { id, since, reply, deltas, count });
        }
        later.append(waiting);
        *waiting = later;
        batch
    }

    /// Lends the deltas to an append.
    fn appends(&mut self) -> Vec<Append> {
        let lend = |edits: &mut DocumentEdits| Append {
            document: edits.document.clone(),
            deltas: edits.edits.iter_mut().flat_map(|edit| edit.deltas.drain(..)).collect(),
        };
        self.documents.iter_mut().map(lend).collect()
    }

    /// Takes the deltas back.
    fn restore(&mut self, appends: Vec<Append>) {
        for (document, append) in self.documents.iter_mut().zip(appends) {
            let mut deltas = append.deltas.into_iter();
            for edit in &mut document.edits {
                edit.deltas.extend(deltas.by_ref().take(edit.count));
            }
        }
    }

    fn stored(self, appends: Vec<Append>, appended: Vec<Appended>) {
        for ((document, append), appended) in self.documents.into_iter().zip(appends).zip(appended)
        {
            let mut delivered = append.deltas.into_iter().zip(appended.deliveries);
            for answered in by_room(&document.edits) {
                let edits = answered.iter().map(|edit| StoredEdit {
                    ticket: edit.id,
                    deltas: delivered.by_ref().take(edit.count).collect(),
                });
                answer(
                    answered,
                    RoomInput::Stored { epoch: appended.epoch, edits: edits.collect() },
                );
            }
        }
    }

    fn refuse(self, reason: &str) {
        for DocumentEdits { document, edits } in self.documents {
            tracing::error!(document.id = %document, reason, "the data of an edit can't be stored");
            not_stored(&edits, ErrorCode::StorageRefused);
        }
    }

    /// Leaves out the edits of a damaged document. They are sound, so their clients keep them.
    fn give_up_on(&mut self, damaged: &DocumentId, reason: &str) {
        tracing::error!(document.id = %damaged, reason, "edits of a damaged document");
        for DocumentEdits { edits, .. } in
            self.documents.extract_if(.., |edits| edits.document == *damaged)
        {
            not_stored(&edits, ErrorCode::StorageUnavailable);
        }
    }

    fn refuse_older_than(&mut self, write_hold: Duration) {
        for document in &mut self.documents {
            let old = |edit: &mut Edit| edit.since.elapsed() >= write_hold;
            let expired: Vec<_> = document.edits.extract_if(.., old).collect();
            not_stored(&expired, ErrorCode::StorageUnavailable);
        }
        self.documents.retain(|document| !document.edits.is_empty());
    }

    /// Two smaller batches, unless this is a single edit.
    fn split(&mut self) -> Option<[Self; 2]> {
        if self.documents.len() > 1 {
            let rest = self.documents.split_off(self.documents.len() / 2);
            return Some([std::mem::take(self), Self { documents: rest }]);
        }
        let document = self.documents.first_mut().filter(|document| document.edits.len() > 1)?;
        let rest = DocumentEdits {
            document: document.document.clone(),
            edits: document.edits.split_off(document.edits.len() / 2),
        };
        Some([std::mem::take(self), Self { documents: vec![rest] }])
    }
}

/// A document's edits in runs of one room each. There is a second room only when the first one
/// failed with edits under way.
fn by_room(edits: &[Edit]) -> impl Iterator<Item = &[Edit]> {
    edits.chunk_by(|one, next| one.reply.same_channel(&next.reply))
}

fn not_stored(edits: &[Edit], code: ErrorCode) {
    for edits in by_room(edits) {
        let tickets = edits.iter().map(|edit| edit.id).collect();
        answer(edits, RoomInput::NotStored { tickets, code });
    }
}

/// Answers edits of one room.
fn answer(edits: &[Edit], input: RoomInput) {
    if let Some(edit) = edits.first() {
        edits.iter().for_each(|edit| edit.reply.answered());
        edit.reply.send(input);
    }
}
