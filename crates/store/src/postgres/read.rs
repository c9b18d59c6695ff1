//! Values on their way to and from the columns.

use synckit_engine::delta::{Delta, DeltaId};
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::{Epoch, Position, Seq};
use tokio_postgres::Row;

use crate::contract::{DocumentRecord, NumberedDelta, StoredSnapshot};
use crate::error::{Cause, StoreError, Unavailable};
use crate::sql::{self, clock};

pub(super) fn unsigned(row: &Row, column: usize) -> Result<u64, StoreError> {
    sql::unsigned(row.try_get(column)?)
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
        StoreError::damaged(document, format!("{what} of delta {}: {error}", seq.0))
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

/// Why appends would fail, out of a row of `LOOK`.
pub(super) fn refusal(row: &Row) -> Result<Option<Unavailable>, StoreError> {
    let (is_standby, is_read_only): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    let (missing, forbidden): (Option<&str>, Option<&str>) = (row.try_get(2)?, row.try_get(3)?);
    let (cause, reason) = if is_standby {
        (Cause::ReadOnly, "the database is a standby".to_owned())
    } else if is_read_only {
        (Cause::ReadOnly, "transactions are read-only (default_transaction_read_only)".to_owned())
    } else if let Some(tables) = missing {
        (Cause::SchemaMissing, format!("no table {tables} is found (dropped, or search_path)"))
    } else if let Some(rights) = forbidden {
        (Cause::PermissionMissing, format!("the role lacks {rights}"))
    } else {
        return Ok(None);
    };
    Ok(Some(Unavailable { cause, reason }))
}
