//! What readers ask for, on a connection whose transaction has begun.

use rusqlite::{Connection, OptionalExtension as _};
use synckit_engine::clock::{EditNumber, VectorClock};
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::{Position, Seq};

use crate::contract::{DeltaPage, DocumentRecord, NumberedDelta, PAGE_DELTAS_MAX, StoredSnapshot};
use crate::error::StoreError;
use crate::sql::{self, PAGE_BYTES_MAX};

use super::group::epoch;
use super::readers::Deadline;
use super::row;
use super::statements;

/// The reading side of the store; cheap to clone into a read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reads {
    pub(super) epoch_base: u64,
}

/// A document's key and where it stands.
struct Head {
    key: i64,
    position: Position,
}

impl Reads {
    fn head(self, connection: &Connection, id: &DocumentId) -> Result<Option<Head>, StoreError> {
        let mut find = connection.prepare_cached(statements::FIND)?;
        let mut rows = find.query([id.as_str()])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let key = row.get(0)?;
        let epoch = epoch(self.epoch_base, key);
        let position = Position { epoch, seq: Seq(row::unsigned(row, 1)?) };
        Ok(Some(Head { key, position }))
    }

    pub(super) fn get(
        self,
        connection: &Connection,
        id: &DocumentId,
    ) -> Result<Option<DocumentRecord>, StoreError> {
        let Some(head) = self.head(connection, id)? else {
            return Ok(None);
        };
        let mut times = connection.prepare_cached(statements::TIMES)?;
        let (created_at, updated_at) =
            times.query_row([head.key], |row| Ok((row::time(row, 0), row::time(row, 1))))?;
        Ok(Some(DocumentRecord {
            id: id.clone(),
            head: head.position,
            snapshot: snapshot(connection, id, &head)?,
            created_at: created_at?,
            updated_at: updated_at?,
        }))
    }

    pub(super) fn snapshot(
        self,
        connection: &Connection,
        id: &DocumentId,
    ) -> Result<Option<StoredSnapshot>, StoreError> {
        match self.head(connection, id)? {
            Some(head) => snapshot(connection, id, &head),
            None => Ok(None),
        }
    }

    pub(super) fn vector_clock(
        self,
        connection: &Connection,
        id: &DocumentId,
    ) -> Result<VectorClock, StoreError> {
        match self.head(connection, id)? {
            Some(head) => clock(connection, id, head.key),
            None => Ok(VectorClock::new()),
        }
    }

    pub(super) fn heads(
        self,
        connection: &Connection,
        ids: &[DocumentId],
    ) -> Result<Vec<Option<Position>>, StoreError> {
        let position = |id| Ok(self.head(connection, id)?.map(|head| head.position));
        ids.iter().map(position).collect()
    }

    pub(super) fn deltas_after(
        self,
        connection: &Connection,
        id: &DocumentId,
        after: Position,
        deadline: Deadline,
    ) -> Result<DeltaPage, StoreError> {
        let head = match self.head(connection, id)? {
            Some(head) if head.position.epoch == after.epoch => head,
            _ => return Ok(DeltaPage::OtherEpoch),
        };
        let stored = page(connection, id, &head, after.seq, None, deadline)?;
        Ok(DeltaPage::from_stored(stored, after.seq, head.position.seq))
    }

    pub(super) fn deltas_since(
        self,
        connection: &Connection,
        id: &DocumentId,
        since: Option<&VectorClock>,
        after: Seq,
        deadline: Deadline,
    ) -> Result<Vec<NumberedDelta>, StoreError> {
        match self.head(connection, id)? {
            Some(head) => page(connection, id, &head, after, since, deadline),
            None => Ok(Vec::new()),
        }
    }
}

pub(super) fn document_ids(
    connection: &Connection,
    limit: usize,
    after: &str,
) -> Result<Vec<DocumentId>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(statements::DOCUMENT_IDS)?;
    let mut rows = statement.query((after, limit))?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        ids.push(row::document_id(row, 0)?);
    }
    Ok(ids)
}

/// The stored deltas numbered above `after` that are not ≤ `since`, as many as make a page.
fn page(
    connection: &Connection,
    id: &DocumentId,
    head: &Head,
    after: Seq,
    since: Option<&VectorClock>,
    deadline: Deadline,
) -> Result<Vec<NumberedDelta>, StoreError> {
    let after = i64::try_from(after.0).unwrap_or(i64::MAX);
    let mut deltas: Vec<NumberedDelta> = Vec::new();
    let mut bytes = 0;
    for statement in [statements::FILED_AFTER, statements::RECENT_AFTER] {
        let mut statement = connection.prepare_cached(statement)?;
        let mut rows = statement.query((head.key, after))?;
        while let Some(row) = rows.next()? {
            deadline.check()?;
            let before = deltas.last().map(|numbered| &numbered.delta.client);
            let (client, clock) = row::authorship(id, row, before)?;
            if since.is_some_and(|since| since.covers(&clock)) {
                continue;
            }
            bytes += row::text(row, 4)?.len();
            deltas.push(row::delta(id, row, client, &clock)?);
            if deltas.len() >= PAGE_DELTAS_MAX || bytes >= PAGE_BYTES_MAX {
                return Ok(deltas);
            }
        }
    }
    Ok(deltas)
}

fn clock(connection: &Connection, id: &DocumentId, key: i64) -> Result<VectorClock, StoreError> {
    let mut statement = connection.prepare_cached(statements::FILED_CLOCK)?;
    let mut rows = statement.query([key])?;
    let mut clock = VectorClock::new();
    while let Some(row) = rows.next()? {
        let client = ClientId::new(row::text(row, 0)?)
            .map_err(|error| StoreError::damaged(id, format!("client in the clock: {error}")))?;
        clock.raise(&client, EditNumber(row::unsigned(row, 1)?));
    }
    row::merge_recent(connection, id, key, &mut clock)?;
    Ok(clock)
}

fn snapshot(
    connection: &Connection,
    id: &DocumentId,
    head: &Head,
) -> Result<Option<StoredSnapshot>, StoreError> {
    let mut statement = connection.prepare_cached(statements::SNAPSHOT)?;
    let read = |row: &rusqlite::Row<'_>| {
        let (seq, clock): (i64, String) = (row.get(0)?, row.get(1)?);
        Ok((seq, clock, row.get(2)?))
    };
    let Some((seq, clock, bytes)) = statement.query_row([head.key], read).optional()? else {
        return Ok(None);
    };
    let seq = Seq(seq.cast_unsigned());
    let position = Position { seq, ..head.position };
    Ok(Some(StoredSnapshot { bytes, clock: sql::clock(id, &clock)?, position }))
}
