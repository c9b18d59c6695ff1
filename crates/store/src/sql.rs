//! What both SQL back ends do in the same way: values in their columns, the meaning of a code, a
//! document that is made on demand. Knows neither of the two.

use std::time::Duration;

use synckit_engine::clock::VectorClock;
use synckit_engine::ids::DocumentId;

use crate::contract::{DocumentRecord, DocumentStore};
use crate::error::{Cause, StoreError};

/// How long a call may take when nothing else is said. Longer than a busy database needs, shorter
/// than a client waits for its acknowledgement.
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Tries to make a document that others delete at the same time.
const CREATE_ATTEMPTS: usize = 8;

/// Bytes of data after which a page ends, so that large values don't fill a reader's memory.
pub(crate) const PAGE_BYTES_MAX: usize = 8 << 20;

/// A number of the caller's for a column.
pub(crate) fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number)
        .map_err(|_| StoreError::EditRefused(format!("{number} is too large for the database")))
}

/// A number out of a column.
pub(crate) fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| {
        let reason = format!("the database holds {number} for a counter");
        StoreError::unavailable(Cause::Damaged, reason)
    })
}

pub(crate) fn document_id(text: &str) -> Result<DocumentId, StoreError> {
    DocumentId::new(text)
        .map_err(|error| StoreError::unavailable(Cause::Damaged, format!("a stored id: {error}")))
}

pub(crate) fn clock_json(clock: &VectorClock) -> Result<String, StoreError> {
    if let Some((client, number)) = clock.iter().find(|entry| signed(entry.1.0).is_err()) {
        return Err(StoreError::EditRefused(format!("number {number} of {client} is too large")));
    }
    serde_json::to_string(clock)
        .map_err(|error| StoreError::EditRefused(format!("write a vector clock: {error}")))
}

pub(crate) fn clock(id: &DocumentId, json: &str) -> Result<VectorClock, StoreError> {
    serde_json::from_str(json)
        .map_err(|error| StoreError::damaged(id, format!("vector clock: {error}")))
}

/// What the code of an error means in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The data of the edit can't be stored.
    Edit,
    /// Whatever the edit is, the store can't do its work.
    Store(Cause),
}

impl Meaning {
    pub(crate) fn with_reason(self, reason: String) -> StoreError {
        match self {
            Self::Edit => StoreError::EditRefused(reason),
            Self::Store(cause) => StoreError::unavailable(cause, reason),
        }
    }
}

/// The document, which `create` makes where there is none.
pub(crate) async fn get_or_create<Created: Future<Output = Result<(), StoreError>>>(
    store: &dyn DocumentStore,
    id: &DocumentId,
    create: impl Fn() -> Created,
) -> Result<DocumentRecord, StoreError> {
    for _ in 0..CREATE_ATTEMPTS {
        if let Some(record) = store.get(id).await? {
            return Ok(record);
        }
        create().await?;
    }
    let reason = format!("document {id} was deleted again and again");
    Err(StoreError::unavailable(Cause::Conflict, reason))
}
