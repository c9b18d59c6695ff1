//! Values on their way to and from the columns.

use synckit_engine::clock::VectorClock;
use synckit_engine::delta::{Delta, DeltaId};
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::{Epoch, Position, Seq};
use tokio_postgres::Row;

use crate::contract::{DocumentRecord, NumberedDelta, StoredSnapshot};
use crate::error::StoreError;

pub(super) fn signed(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number)
        .map_err(|_| StoreError::Refused(format!("{number} is too large for the database")))
}

pub(super) fn unsigned(row: &Row, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number)
        .map_err(|_| StoreError::Refused(format!("the database holds {number} for a counter")))
}

pub(super) fn clock_json(clock: &VectorClock) -> Result<String, StoreError> {
    if let Some((client, counter)) = clock.iter().find(|entry| signed(entry.1.0).is_err()) {
        return Err(StoreError::Refused(format!("counter {counter} of {client} is too large")));
    }
    serde_json::to_string(clock)
        .map_err(|error| StoreError::Refused(format!("write a vector clock: {error}")))
}

pub(super) fn clock(id: &DocumentId, json: &str) -> Result<VectorClock, StoreError> {
    serde_json::from_str(json).map_err(|error| damaged(id, format!("vector clock: {error}")))
}

/// A row of the columns epoch, head, snapshot, its clock, its number, and two times.
pub(super) fn record(id: &DocumentId, row: &Row) -> Result<DocumentRecord, StoreError> {
    let epoch = Epoch(unsigned(row, 0)?);
    let snapshot = match row.try_get::<_, Option<Vec<u8>>>(2)? {
        Some(bytes) => Some(snapshot(id, epoch, bytes, row, 3)?),
        None => None,
    };
    Ok(DocumentRecord {
        id: id.clone(),
        head: Position { epoch, seq: Seq(unsigned(row, 1)?) },
        snapshot,
        created_at: row.try_get(5)?,
        updated_at: row.try_get(6)?,
    })
}

/// A snapshot whose clock and number stand in the columns from `first`.
pub(super) fn snapshot(
    id: &DocumentId,
    epoch: Epoch,
    bytes: Vec<u8>,
    row: &Row,
    first: usize,
) -> Result<StoredSnapshot, StoreError> {
    Ok(StoredSnapshot {
        bytes,
        clock: clock(id, row.try_get(first)?)?,
        position: Position { epoch, seq: Seq(unsigned(row, first + 1)?) },
    })
}

/// A delta whose number, id, client, data, clock and timestamp stand in the columns from `first`.
pub(super) fn delta(
    document: &DocumentId,
    row: &Row,
    first: usize,
) -> Result<NumberedDelta, StoreError> {
    let seq = Seq(unsigned(row, first)?);
    let part = |what: &str, error: &dyn std::fmt::Display| {
        damaged(document, format!("{what} of delta {}: {error}", seq.0))
    };
    let changes =
        Delta::parse_data(row.try_get(first + 3)?).map_err(|error| part("data", &error))?;
    let client = ClientId::new(row.try_get(first + 2)?).map_err(|error| part("client", &error))?;
    let delta = Delta {
        id: DeltaId::new(row.try_get(first + 1)?),
        number: clock(document, row.try_get(first + 4)?)?.get(client.as_str()),
        client,
        timestamp: unsigned(row, first + 5)?,
        changes,
    };
    Ok(NumberedDelta { seq, delta })
}

fn damaged(document: &DocumentId, reason: String) -> StoreError {
    StoreError::Damaged { document: document.clone(), reason }
}
