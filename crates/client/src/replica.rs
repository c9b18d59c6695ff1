//! What a client knows and still has to say: documents, the queue of own edits, awareness. No IO,
//! no clock and no randomness: times and the client id are given.
//!
//! Whoever drives it says what happens ([`Replica::connected`], [`Replica::receive`],
//! [`Replica::disconnected`]), sends what [`Replica::next_message`] gives, and looks again at
//! [`Replica::wake_at`].

mod awareness;
mod document;
mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::message::{ClientMessage, ErrorDetails, ErrorReply, FieldDelta, Json, ServerMessage};
use document::{Document, Subscription};
use queue::{Queue, Written};

pub use document::Standing;
pub use queue::{EditNumber, QUEUED_BYTES_MAX, QUEUED_EDITS_MAX, QueueFull};

/// The first pause after a refusal that says to try again, and the longest: each is twice the one
/// before.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(32);

/// A message to be sent, with the id that answers to it name.
#[derive(Debug)]
pub struct Outgoing {
    /// None: nothing answers to it.
    pub id: Option<String>,
    /// What to say.
    pub message: ClientMessage,
}

/// Why the server did not take something, and never will.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Refusal {
    /// The code of the protocol.
    pub code: String,
    /// What was wrong and what would be right.
    pub reason: String,
}

impl Refusal {
    fn of(reply: &ErrorReply) -> Self {
        let ErrorDetails { code, reason, .. } = &reply.details;
        let reason = reason.as_ref().unwrap_or(&reply.error).clone();
        Self { code: code.clone(), reason }
    }
}

/// What became of one edit.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which edit.
    pub edit: EditNumber,
    /// It is stored, or refused for good.
    pub result: Result<(), Refusal>,
}

/// Documents as one client has them.
#[derive(Debug)]
pub struct Replica {
    client_id: String,
    documents: BTreeMap<String, Document>,
    queue: Queue,
    is_connected: bool,
    messages: u64,
    /// Nothing that may be refused for now is sent before.
    resume_at: Option<Instant>,
    pause: Duration,
    outcomes: Vec<Outcome>,
    changed: BTreeSet<String>,
}

impl Replica {
    /// A client that knows nothing. No other may ever have its id.
    #[must_use]
    pub fn new(client_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            documents: BTreeMap::new(),
            queue: Queue::default(),
            is_connected: false,
            messages: 0,
            resume_at: None,
            pause: PAUSE_MIN,
            outcomes: Vec::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Its client id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Follows a document from now on.
    pub fn open(&mut self, document: &str) {
        self.documents.entry(document.to_owned()).or_default().open();
    }

    /// Does not follow a document any more. Own edits of it are still sent.
    pub fn leave(&mut self, document: &str) {
        if let Some(document) = self.documents.get_mut(document) {
            document.leave();
        }
    }

    /// Writes a field, or deletes it. `timestamp` is the time of the user.
    ///
    /// # Errors
    /// When too much waits for the server.
    pub fn set(
        &mut self,
        document: &str,
        field: &str,
        value: Option<Json>,
        timestamp: u64,
    ) -> Result<EditNumber, QueueFull> {
        let known = self.documents.entry(document.to_owned()).or_default();
        let number = known.next_number();
        let written = Written { field: field.to_owned(), value, number, timestamp };
        self.queue.push(document, &written)?;
        known.number = number;
        known.show_own(&written);
        self.changed.insert(document.to_owned());
        Ok(EditNumber { document: document.to_owned(), number })
    }

    /// Says who this client is in a document, or that it leaves, and hears of the others.
    pub fn set_awareness(&mut self, document: &str, state: Option<Json>) {
        self.documents.entry(document.to_owned()).or_default().awareness.set_own(state);
    }

    /// Hears who is in a document from now on.
    pub fn follow_awareness(&mut self, document: &str) {
        self.documents.entry(document.to_owned()).or_default().awareness.follow();
    }

    /// The value that a field shows, own edits on top.
    #[must_use]
    pub fn field(&self, document: &str, field: &str) -> Option<&Json> {
        self.documents.get(document)?.field(field)
    }

    /// All fields that have a value, own edits on top.
    #[must_use]
    pub fn fields(&self, document: &str) -> BTreeMap<String, Json> {
        self.documents.get(document).map(Document::fields).unwrap_or_default()
    }

    /// What clients say of themselves in a document, this one as the server knows it.
    #[must_use]
    pub fn awareness(&self, document: &str) -> BTreeMap<String, Json> {
        self.documents.get(document).map(|it| it.awareness.all().clone()).unwrap_or_default()
    }

    /// How far the document is.
    #[must_use]
    pub fn standing(&self, document: &str) -> Standing {
        self.documents.get(document).map(Document::standing).unwrap_or_default()
    }

    /// Edits that are not known to be stored.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.edits()
    }

    /// A new connection, on which nothing was said.
    pub fn connected(&mut self) {
        self.is_connected = true;
        self.resume_at = None;
        self.pause = PAUSE_MIN;
    }

    /// Nothing that was sent and not answered is sure to have arrived.
    pub fn disconnected(&mut self) {
        self.is_connected = false;
        self.queue.send_again();
        self.documents.values_mut().for_each(Document::disconnected);
    }

    /// What to say next; none: nothing for now, see [`Self::wake_at`].
    pub fn next_message(&mut self, now: Instant) -> Option<Outgoing> {
        if !self.is_connected || self.resume_at.is_some_and(|resume_at| now < resume_at) {
            return None;
        }
        let next_id = self.messages + 1;
        let id = || format!("{}-{next_id}", self.client_id);
        for (name, document) in &mut self.documents {
            let message = document
                .next_subscription(name, id)
                .or_else(|| document.awareness.next_message(name, &self.client_id, id, now));
            if let Some(message) = message {
                self.messages = next_id;
                return Some(Outgoing { id: Some(id()), message });
            }
        }
        let message = self.queue.next_message(&self.client_id, id)?;
        self.messages = next_id;
        Some(Outgoing { id: None, message })
    }

    /// When [`Self::next_message`] may have something that it has not now.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let awareness = self.documents.values().filter_map(|it| it.awareness.wake_at());
        // Before the pause is over there is nothing to say, whatever awareness wants.
        self.is_connected.then(|| self.resume_at.or_else(|| awareness.min()))?
    }

    /// What the server said.
    pub fn receive(&mut self, message: ServerMessage, now: Instant) {
        match message {
            ServerMessage::SyncResponse(response) => {
                if let Some(document) = self.documents.get_mut(&response.document_id) {
                    document.replace(response.state, &response.clock);
                    self.changed.insert(response.document_id);
                }
            }
            ServerMessage::Delta(FieldDelta { document_id, field, value, clock }) => {
                if let Some(document) = self.documents.get_mut(&document_id) {
                    document.take(field, value, &clock);
                    self.changed.insert(document_id);
                }
            }
            ServerMessage::Ack(ack) => self.acknowledged(&ack.message_id),
            ServerMessage::Error(reply) => self.refused(&reply, now),
            ServerMessage::AwarenessUpdate(update) => {
                if let Some(document) = self.documents.get_mut(&update.document_id) {
                    document.awareness.take(update.client_id, update.state);
                    self.changed.insert(update.document_id);
                }
            }
            ServerMessage::AwarenessState(state) => {
                if let Some(document) = self.documents.get_mut(&state.document_id) {
                    document.awareness.replace(state.states);
                    self.changed.insert(state.document_id);
                }
            }
            ServerMessage::AuthSuccess(_)
            | ServerMessage::AuthError(_)
            | ServerMessage::SyncStep2(_)
            | ServerMessage::DeltaBatch(_)
            | ServerMessage::Pong => {}
        }
    }

    /// What became of edits since this was asked last.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Documents that show something else since this was asked last.
    pub fn take_changed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.changed)
    }

    fn acknowledged(&mut self, message_id: &str) {
        let Some(batch) = self.queue.take(message_id) else { return };
        self.pause = PAUSE_MIN;
        let document = self.documents.get_mut(&batch.document);
        let Some(document) = document else { return };
        for written in batch.edits {
            document.own_is_stored(&written);
            let edit = EditNumber { document: batch.document.clone(), number: written.number };
            self.outcomes.push(Outcome { edit, result: Ok(()) });
        }
    }

    fn refused(&mut self, reply: &ErrorReply, now: Instant) {
        let message_id = reply.details.message_id.as_deref().unwrap_or_default();
        if reply.details.is_for_later() {
            return self.send_later(message_id, now);
        }
        let refusal = Refusal::of(reply);
        if let Some(document) = self.asked_for(message_id) {
            document.subscription = Subscription::Refused(refusal);
            self.changed.extend(reply.details.document_id.clone());
        } else if self.queue.split(message_id) {
            tracing::debug!(code = refusal.code, "one of several edits is refused");
        } else if let Some(batch) = self.queue.take(message_id) {
            for written in batch.edits {
                let before = self.queue.newest(&batch.document, &written.field);
                if let Some(document) = self.documents.get_mut(&batch.document) {
                    document.own_is_refused(&written, before);
                }
                let edit = EditNumber { document: batch.document.clone(), number: written.number };
                self.outcomes.push(Outcome { edit, result: Err(refusal.clone()) });
            }
            self.changed.insert(batch.document);
        } else {
            tracing::warn!(code = refusal.code, reason = refusal.reason, "refused by the server");
        }
    }

    fn send_later(&mut self, message_id: &str, now: Instant) {
        if let Some(document) = self.asked_for(message_id) {
            document.subscription = Subscription::Wanted;
        } else if !self.documents.values_mut().any(|it| it.awareness.send_again(message_id)) {
            self.queue.send_one_again(message_id);
        }
        if self.resume_at.is_none_or(|resume_at| resume_at <= now) {
            self.resume_at = Some(now + self.pause);
            self.pause = PAUSE_MAX.min(self.pause * 2);
        }
    }

    /// The document that was asked for under this id.
    fn asked_for(&mut self, message_id: &str) -> Option<&mut Document> {
        let is_it = |document: &&mut Document| matches!(&document.subscription, Subscription::Asked(id) if id == message_id);
        self.documents.values_mut().find(is_it)
    }
}

#[cfg(test)]
mod tests;
