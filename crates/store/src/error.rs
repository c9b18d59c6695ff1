//! What a store answers when it can't do as asked.

use std::time::Duration;

use synckit_engine::ids::DocumentId;
use synckit_engine::position::Seq;

/// An error of a store. [`StoreError::is_transient`] says whether the same call may succeed
/// later; the text is for operators and is never sent to a client.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The back end can't be reached, is starting, stopping or overloaded.
    #[error("store is not available: {0}")]
    Unavailable(String),
    /// The call did not end within its deadline. Whether it took effect is not known: repeat it.
    #[error("store did not answer within {0:?}")]
    Timeout(Duration),
    /// Another transaction was in the way: a deadlock or a serialization failure.
    #[error("store asked to repeat the transaction: {0}")]
    Conflict(String),
    /// The back end will never take this.
    #[error("store refused: {0}")]
    Refused(String),
    /// Stored bytes that do not make sense.
    #[error("stored data of document {document} is damaged: {reason}")]
    Damaged {
        /// Whose data.
        document: DocumentId,
        /// What is wrong with it.
        reason: String,
    },
    /// The schema is not one this program can work with.
    #[error("schema: {0}")]
    Schema(String),
}

impl StoreError {
    /// Whether the same call may succeed later, unchanged. An append that failed so may have
    /// taken effect; repeating it is safe by S3.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout(_) | Self::Conflict(_))
    }

    pub(crate) fn snapshot_ahead(document: &DocumentId, position: Seq, head: Seq) -> Self {
        Self::Refused(format!(
            "snapshot of document {document} at {} is ahead of its last delta {}",
            position.0, head.0
        ))
    }
}
