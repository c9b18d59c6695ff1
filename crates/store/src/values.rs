//! Values as both SQL back ends keep them: numbers with a sign, clocks as JSON.

use synckit_engine::clock::VectorClock;
use synckit_engine::ids::DocumentId;

use crate::error::{Cause, StoreError};

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
