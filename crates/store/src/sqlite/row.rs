//! Values on their way to and from the columns.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Row;
use synckit_engine::clock::VectorClock;
use synckit_engine::delta::{Delta, DeltaId};
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::Seq;

use crate::contract::NumberedDelta;
use crate::error::StoreError;

pub(super) fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number)
        .map_err(|_| StoreError::Refused(format!("{number} is too large for the database")))
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.get(column)?;
    u64::try_from(number)
        .map_err(|_| StoreError::Refused(format!("the database holds {number} for a counter")))
}

/// Microseconds since 1970.
pub(super) fn now() -> i64 {
    micros(SystemTime::now())
}

pub(super) fn micros(time: SystemTime) -> i64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<SystemTime, StoreError> {
    Ok(UNIX_EPOCH + Duration::from_micros(unsigned(row, column)?))
}

pub(super) fn clock_json(clock: &VectorClock) -> Result<String, StoreError> {
    if let Some((client, counter)) = clock.iter().find(|entry| signed(entry.1).is_err()) {
        return Err(StoreError::Refused(format!("counter {counter} of {client} is too large")));
    }
    serde_json::to_string(clock)
        .map_err(|error| StoreError::Refused(format!("write a vector clock: {error}")))
}

pub(super) fn clock(id: &DocumentId, json: &str) -> Result<VectorClock, StoreError> {
    serde_json::from_str(json).map_err(|error| damaged(id, format!("vector clock: {error}")))
}

pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, StoreError> {
    row.get_ref(column)?.as_str().map_err(|error| StoreError::Refused(format!("stored: {error}")))
}

/// A delta whose number, id, client, data, clock and timestamp are the row's columns.
pub(super) fn delta(document: &DocumentId, row: &Row<'_>) -> Result<NumberedDelta, StoreError> {
    let seq = Seq(unsigned(row, 0)?);
    let part = |what: &str, error: &dyn std::fmt::Display| {
        damaged(document, format!("{what} of delta {}: {error}", seq.0))
    };
    let delta = Delta {
        id: DeltaId::new(text(row, 1)?),
        client: ClientId::new(text(row, 2)?).map_err(|error| part("client", &error))?,
        changes: Delta::parse_data(text(row, 3)?).map_err(|error| part("data", &error))?,
        clock: clock(document, text(row, 4)?)?,
        timestamp: unsigned(row, 5)?,
    };
    Ok(NumberedDelta { seq, delta })
}

pub(super) fn damaged(document: &DocumentId, reason: String) -> StoreError {
    StoreError::Damaged { document: document.clone(), reason }
}
