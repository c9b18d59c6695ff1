//! Own edits that are not known to be stored, in the order in which they were made.

use std::collections::VecDeque;

use serde_json::value::RawValue;

use crate::message::{Change, ClientMessage, Json, Operation};

/// Edits that may wait for the server: what a person writes in a long time offline.
pub const QUEUED_EDITS_MAX: usize = 100_000;

/// Bytes of their values and names.
pub const QUEUED_BYTES_MAX: usize = 64 << 20;

/// Messages without an answer at a time, as the protocol advises.
const UNANSWERED_MAX: usize = 32;

/// What one message takes, so that an edit that is refused takes few others with it and no server
/// finds the message too large.
const BATCH_EDITS_MAX: usize = 50;
const BATCH_BYTES_MAX: usize = 256 << 10;

/// Which edit of a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EditNumber {
    /// The document.
    pub document: String,
    /// Counts the edits of this client there; some numbers are left out.
    pub number: u64,
}

/// Too much waits for the server; try again when some of it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{QUEUED_EDITS_MAX} edits or {QUEUED_BYTES_MAX} bytes wait for the server")]
pub struct QueueFull;

/// One write of one field. Nothing of it ever changes.
#[derive(Debug, Clone)]
pub(super) struct Written {
    /// The field.
    pub(super) field: String,
    /// None: deleted.
    pub(super) value: Option<Json>,
    /// The number of the edit.
    pub(super) number: u64,
    /// Milliseconds since 1970.
    pub(super) timestamp: u64,
}

impl Written {
    fn bytes(&self) -> usize {
        self.field.len() + self.value.as_ref().map_or(0, |value| value.get().len())
    }

    fn operation(&self, client_id: &str) -> Operation {
        let value = self.value.clone().unwrap_or_else(deletion);
        Operation {
            client_id: Some(client_id.to_owned()),
            clock: [(client_id.to_owned(), self.number)].into(),
            timestamp: Some(self.timestamp),
            change: Change::Field { field: self.field.clone(), value },
        }
    }
}

fn deletion() -> Json {
    // The text is JSON, so the other branch is never taken.
    RawValue::from_string(r#"{"__deleted":true}"#.to_owned())
        .map_or_else(|_| RawValue::NULL.to_owned().into(), Json::from)
}

/// Edits of one document that are stored together or not at all.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) document: String,
    pub(super) edits: Vec<Written>,
    bytes: usize,
    /// Given when it is sent first. What was sent once is always sent as it was.
    message_id: Option<String>,
    is_unanswered: bool,
}

impl Batch {
    fn of(document: &str, written: Written) -> Self {
        Self {
            document: document.to_owned(),
            bytes: written.bytes(),
            edits: vec![written],
            message_id: None,
            is_unanswered: false,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    batches: VecDeque<Batch>,
    edits: usize,
    bytes: usize,
    unanswered: usize,
}

impl Queue {
    pub(super) fn edits(&self) -> usize {
        self.edits
    }

    pub(super) fn push(&mut self, document: &str, written: &Written) -> Result<(), QueueFull> {
        let bytes = written.bytes();
        if self.edits >= QUEUED_EDITS_MAX || self.bytes + bytes > QUEUED_BYTES_MAX {
            return Err(QueueFull);
        }
        self.edits += 1;
        self.bytes += bytes;
        let has_room = |batch: &&mut Batch| {
            batch.message_id.is_none()
                && batch.document == document
                && batch.edits.len() < BATCH_EDITS_MAX
                && batch.bytes + bytes <= BATCH_BYTES_MAX
        };
        if let Some(batch) = self.batches.back_mut().filter(has_room) {
            batch.edits.push(written.clone());
            batch.bytes += bytes;
        } else {
            self.batches.push_back(Batch::of(document, written.clone()));
        }
        Ok(())
    }

    /// The first batch that is not under way.
    pub(super) fn next_message(
        &mut self,
        client_id: &str,
        id: impl FnOnce() -> String,
    ) -> Option<ClientMessage> {
        if self.unanswered >= UNANSWERED_MAX {
            return None;
        }
        // Few are passed over, since what is sent is in front.
        let batch = self.batches.iter_mut().find(|batch| !batch.is_unanswered)?;
        batch.is_unanswered = true;
        self.unanswered += 1;
        let message_id = Some(batch.message_id.get_or_insert_with(id).clone());
        let document_id = batch.document.clone();
        let mut deltas: Vec<_> =
            batch.edits.iter().map(|written| written.operation(client_id)).collect();
        Some(match deltas.pop() {
            Some(operation) if deltas.is_empty() => {
                ClientMessage::Delta { document_id, operation, message_id }
            }
            last => {
                deltas.extend(last);
                ClientMessage::DeltaBatch { document_id, deltas, message_id }
            }
        })
    }

    /// Takes an answered batch out.
    pub(super) fn take(&mut self, message_id: &str) -> Option<Batch> {
        let at = self.find(message_id)?;
        let batch = self.batches.remove(at)?;
        self.edits -= batch.edits.len();
        self.bytes -= batch.bytes;
        self.unanswered -= usize::from(batch.is_unanswered);
        Some(batch)
    }

    /// Has the edits of one batch sent each by itself, since one that is refused takes the others
    /// with it. False if there are not several.
    pub(super) fn split(&mut self, message_id: &str) -> bool {
        let is_several = |at: &usize| self.batches[*at].edits.len() > 1;
        let Some(at) = self.find(message_id).filter(is_several) else { return false };
        let Some(batch) = self.batches.remove(at) else { return false };
        self.unanswered -= usize::from(batch.is_unanswered);
        for written in batch.edits.into_iter().rev() {
            self.batches.insert(at, Batch::of(&batch.document, written));
        }
        true
    }

    /// Has one batch sent again.
    pub(super) fn send_one_again(&mut self, message_id: &str) {
        if let Some(batch) = self.find(message_id).and_then(|at| self.batches.get_mut(at)) {
            self.unanswered -= usize::from(std::mem::take(&mut batch.is_unanswered));
        }
    }

    /// Has everything sent again.
    pub(super) fn send_again(&mut self) {
        self.batches.iter_mut().for_each(|batch| batch.is_unanswered = false);
        self.unanswered = 0;
    }

    /// The newest queued write of a field.
    pub(super) fn newest(&self, document: &str, field: &str) -> Option<&Written> {
        let batches = self.batches.iter().rev().filter(|batch| batch.document == document);
        let mut edits = batches.flat_map(|batch| batch.edits.iter().rev());
        edits.find(|written| written.field == field)
    }

    fn find(&self, message_id: &str) -> Option<usize> {
        self.batches.iter().position(|batch| batch.message_id.as_deref() == Some(message_id))
    }
}
