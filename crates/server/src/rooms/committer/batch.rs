//! The edits of one append, and what becomes of them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use synckit_engine::delta::Delta;
use synckit_engine::ids::DocumentId;
use synckit_engine::room::StoredEdit;
use synckit_engine::wire::ErrorCode;
use synckit_store::{Append, Appended};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::ticket::Ticket;
use crate::rooms::input::RoomInput;
use crate::rooms::reply::Reply;

/// Edits in one append: larger ones no longer raise throughput, only the wait of the first.
const EDITS_MAX: usize = 512;

/// Bytes in one append: more is neither sent nor written within the time of a call where the way to
/// the database is slow. A single edit may be larger.
const BYTES_MAX: usize = 4 << 20;

/// How large an append may be. Halved when one takes too long, doubled when one is stored.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct BatchSize {
    halvings: u32,
}

impl BatchSize {
    pub(super) fn halve(&mut self) {
        self.halvings = (self.halvings + 1).min(EDITS_MAX.ilog2());
    }

    pub(super) fn double(&mut self) {
        self.halvings = self.halvings.saturating_sub(1);
    }

    fn edits(self) -> usize {
        EDITS_MAX >> self.halvings
    }

    fn bytes(self) -> usize {
        BYTES_MAX >> self.halvings
    }
}

/// The edits of one append, by document.
#[derive(Debug, Default)]
pub(super) struct Batch {
    documents: Vec<DocumentEdits>,
}

#[derive(Debug)]
struct DocumentEdits {
    document: DocumentId,
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    since: Instant,
    reply: Reply,
    _place: Option<OwnedSemaphorePermit>,
    deltas: Vec<Delta>,
    /// How many there are while they are lent to an append.
    count: usize,
}

impl Batch {
    /// Takes the next edits, at least one. An edit that repeats a delta of the same batch stays behind with all
    /// that follow it in its document: the store must see the first one's outcome.
    pub(super) fn take(waiting: &mut VecDeque<Ticket>, size: BatchSize) -> Self {
        let mut batch = Self::default();
        let mut places: HashMap<DocumentId, usize> = HashMap::new();
        let mut seen = HashSet::new();
        let mut behind = HashSet::new();
        let mut later = VecDeque::new();
        let (mut taken, mut bytes) = (0, 0);
        while taken < size.edits()
            && let Some(ticket) = waiting.pop_front_if(|next| {
                bytes += next.bytes();
                taken == 0 || bytes <= size.bytes()
            })
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
            let Ticket { since, deltas, reply, place: _place, .. } = ticket;
            let edit = Edit { since, reply, _place, deltas, count };
            batch.documents[place].edits.push(edit);
        }
        later.append(waiting);
        *waiting = later;
        batch
    }

    pub(super) fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    pub(super) fn has(&self, document: &DocumentId) -> bool {
        self.documents.iter().any(|edits| edits.document == *document)
    }

    /// When its oldest edit was read.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let edits = self.documents.iter().flat_map(|document| &document.edits);
        edits.map(|edit| edit.since).min()
    }

    /// Lends the deltas to an append.
    pub(super) fn appends(&mut self) -> Vec<Append> {
        let lend = |edits: &mut DocumentEdits| Append {
            document: edits.document.clone(),
            deltas: edits.edits.iter_mut().flat_map(|edit| edit.deltas.drain(..)).collect(),
        };
        self.documents.iter_mut().map(lend).collect()
    }

    /// Takes the deltas back.
    pub(super) fn restore(&mut self, appends: Vec<Append>) {
        for (document, append) in self.documents.iter_mut().zip(appends) {
            let mut deltas = append.deltas.into_iter();
            for edit in &mut document.edits {
                edit.deltas.extend(deltas.by_ref().take(edit.count));
            }
        }
    }

    pub(super) fn stored(self, appends: Vec<Append>, appended: Vec<Appended>) {
        for ((document, append), appended) in self.documents.into_iter().zip(appends).zip(appended)
        {
            let mut delivered = append.deltas.into_iter().zip(appended.deliveries);
            for answered in by_room(&document.edits) {
                let edits = answered.iter().map(|edit| StoredEdit {
                    ticket: edit.reply.ticket(),
                    deltas: delivered.by_ref().take(edit.count).collect(),
                });
                answer(
                    answered,
                    RoomInput::Stored { epoch: appended.epoch, edits: edits.collect() },
                );
            }
        }
    }

    pub(super) fn refuse(self, reason: &str) {
        for DocumentEdits { document, edits } in self.documents {
            tracing::error!(document.id = %document, reason, "the data of an edit can't be stored");
            not_stored(&edits, ErrorCode::StorageRefused);
        }
    }

    /// Leaves out the edits of a damaged document. They are sound, so their clients keep them.
    pub(super) fn give_up_on(&mut self, damaged: &DocumentId, reason: &str) {
        tracing::error!(document.id = %damaged, reason, "edits of a damaged document");
        for DocumentEdits { edits, .. } in
            self.documents.extract_if(.., |edits| edits.document == *damaged)
        {
            not_stored(&edits, ErrorCode::StorageUnavailable);
        }
    }

    pub(super) fn refuse_older_than(&mut self, write_hold: Duration) {
        for document in &mut self.documents {
            let old = |edit: &mut Edit| edit.since.elapsed() >= write_hold;
            let expired: Vec<_> = document.edits.extract_if(.., old).collect();
            not_stored(&expired, ErrorCode::StorageUnavailable);
        }
        self.documents.retain(|document| !document.edits.is_empty());
    }

    /// Two smaller batches, unless this is a single edit.
    pub(super) fn split(&mut self) -> Option<[Self; 2]> {
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

/// Answers an edit that is in no batch yet and has waited too long.
pub(super) fn refuse_waiting(ticket: &Ticket) {
    let tickets = vec![ticket.reply.ticket()];
    ticket.reply.send(RoomInput::NotStored { tickets, code: ErrorCode::StorageUnavailable });
}

fn not_stored(edits: &[Edit], code: ErrorCode) {
    for edits in by_room(edits) {
        let tickets = edits.iter().map(|edit| edit.reply.ticket()).collect();
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

#[cfg(test)]
mod tests;
