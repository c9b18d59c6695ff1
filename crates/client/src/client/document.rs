//! One document, as the application sees it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{oneshot, watch};

use super::{Shared, Status};
use crate::message::{Json, json};
use crate::now_millis;
use crate::replica::{QueueFull, Refusal, Standing};

/// Why an edit is not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It was not made: too much waits for the server.
    #[error(transparent)]
    QueueFull(#[from] QueueFull),
    /// It was not made: the value has no JSON form.
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The server will never take it; it is not shown any more.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The client has ended; whether the edit is stored is not known.
    #[error("the client has ended")]
    Ended,
}

/// The word of the server on one edit. It comes whether or not anybody waits for it.
#[derive(Debug)]
#[must_use = "wait for it, or drop it on purpose"]
pub struct Receipt(oneshot::Receiver<Result<(), Refusal>>);

impl Future for Receipt {
    type Output = Result<(), EditError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|outcome| match outcome {
            Ok(result) => result.map_err(EditError::Refused),
            Err(_) => Err(EditError::Ended),
        })
    }
}

/// A document that the client follows.
pub struct Document {
    shared: Arc<Shared>,
    name: String,
    changes: watch::Receiver<u64>,
}

impl Document {
    pub(super) fn new(shared: Arc<Shared>, name: &str) -> Self {
        let changes = shared
            .changes
            .lock()
            .entry(name.to_owned())
            .or_insert_with(|| watch::Sender::new(0))
            .subscribe();
        Self { shared, name: name.to_owned(), changes }
    }

    /// Writes a field, at once for this client and as soon as may be for others.
    ///
    /// # Errors
    /// When the edit was not made; [`Receipt`] says whether it is stored.
    pub fn set<T: Serialize + ?Sized>(&self, field: &str, value: &T) -> Result<Receipt, EditError> {
        let value = json(value)?;
        self.write(field, Some(value))
    }

    /// Deletes a field.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn delete(&self, field: &str) -> Result<Receipt, EditError> {
        self.write(field, None)
    }

    fn write(&self, field: &str, value: Option<Json>) -> Result<Receipt, EditError> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut replica = self.shared.replica.lock();
            // The end needs the replica too, so it comes before this or sees the receipt.
            if matches!(*self.shared.status.borrow(), Status::Ended(_)) {
                return Err(EditError::Ended);
            }
            let edit = replica.set(&self.name, field, value, now_millis())?;
            self.shared.receipts.lock().insert(edit, sender);
        }
        self.shared.publish();
        self.shared.work.notify_one();
        Ok(Receipt(receiver))
    }

    /// The value of a field; none if it has none, or is no such value.
    #[must_use]
    pub fn get<T: DeserializeOwned>(&self, field: &str) -> Option<T> {
        let replica = self.shared.replica.lock();
        serde_json::from_str(replica.field(&self.name, field)?.get()).ok()
    }

    /// All fields that have a value, with own edits that are not stored yet.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<String, Json> {
        self.shared.replica.lock().fields(&self.name)
    }

    /// How far the document is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.shared.replica.lock().standing(&self.name)
    }

    /// Waits until the document shows something else than when this was last waited for, fields or
    /// awareness. Cancel-safe.
    pub async fn changed(&mut self) {
        // Its sender lives as long as what is shared.
        let _ = self.changes.changed().await;
    }

    /// Says who this client is here, as a JSON object: a name, a cursor, whatever others are to see.
    /// Others see it until this client leaves or its connection ends; it is said again on the next.
    ///
    /// # Errors
    /// When the value is no JSON object.
    pub fn set_awareness<T: Serialize + ?Sized>(&self, state: &T) -> Result<(), serde_json::Error> {
        let state = json(state)?;
        if !state.get().starts_with('{') {
            return Err(serde::ser::Error::custom("awareness is a JSON object"));
        }
        self.shared.replica.lock().set_awareness(&self.name, Some(state));
        self.shared.work.notify_one();
        Ok(())
    }

    /// Takes back what this client said of itself.
    pub fn clear_awareness(&self) {
        self.shared.replica.lock().set_awareness(&self.name, None);
        self.shared.work.notify_one();
    }

    /// Hears from now on who is here.
    pub fn follow_awareness(&self) {
        self.shared.replica.lock().follow_awareness(&self.name);
        self.shared.work.notify_one();
    }

    /// Who is here, by client id, if that is followed or something was said.
    #[must_use]
    pub fn awareness(&self) -> BTreeMap<String, Json> {
        self.shared.replica.lock().awareness(&self.name)
    }

    /// Follows the document no more. Its edits are still sent.
    pub fn leave(self) {
        self.shared.replica.lock().leave(&self.name);
        self.shared.work.notify_one();
    }
}
