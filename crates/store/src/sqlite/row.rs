//! Values on their way to and from the columns.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row};
use synckit_engine::clock::{EditNumber, VectorClock};
use synckit_engine::delta::{Delta, DeltaId};
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::Seq;

use crate::contract::NumberedDelta;
use crate::error::{Cause, StoreError};
use crate::sql::{self, clock, clock_json, signed};

use super::statements;

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    sql::unsigned(row.get(column)?)
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

pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, StoreError> {
    let damaged = |error| StoreError::unavailable(Cause::Damaged, format!("stored: {error}"));
    row.get_ref(column)?.as_str().map_err(damaged)
}

pub(super) fn document_id(row: &Row<'_>, column: usize) -> Result<DocumentId, StoreError> {
    sql::document_id(text(row, column)?)
}

/// Who made a delta and what it adds to the clock, of a row that begins with these two columns.
/// `before` is the client of the row before, which often is the same.
pub(super) fn authorship(
    document: &DocumentId,
    row: &Row<'_>,
    before: Option<&ClientId>,
) -> Result<(ClientId, VectorClock), StoreError> {
    let name = text(row, 0)?;
    let client = match before {
        Some(before) if before.as_str() == name => before.clone(),
        _ => ClientId::new(name).map_err(|error| {
            StoreError::damaged(document, format!("client of a delta: {error}"))
        })?,
    };
    let clock = match row.get_ref(1)? {
        ValueRef::Integer(_) => VectorClock::dot(&client, EditNumber(unsigned(row, 1)?)),
        _ => clock(document, text(row, 1)?)?,
    };
    Ok((client, clock))
}

/// Merges the clocks of the deltas that are not filed into the clock.
pub(super) fn merge_recent(
    connection: &Connection,
    document: &DocumentId,
    key: i64,
    clock: &mut VectorClock,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(statements::RECENT_CLOCKS)?;
    let mut rows = statement.query([key])?;
    let mut before = None;
    while let Some(row) = rows.next()? {
        let (client, added) = authorship(document, row, before.as_ref())?;
        clock.merge(&added);
        before = Some(client);
    }
    Ok(())
}

/// The delta of a row that goes on with number, id, data and timestamp.
pub(super) fn delta(
    document: &DocumentId,
    row: &Row<'_>,
    client: ClientId,
    clock: &VectorClock,
) -> Result<NumberedDelta, StoreError> {
    let seq = Seq(unsigned(row, 2)?);
    let delta = Delta {
        id: DeltaId::from(row.get::<_, StoredId>(3)?),
        number: clock.get(client.as_str()),
        client,
        changes: Delta::parse_data(text(row, 4)?).map_err(|error| {
            StoreError::damaged(document, format!("data of delta {}: {error}", seq.0))
        })?,
        timestamp: unsigned(row, 5)?,
    };
    Ok(NumberedDelta { seq, delta })
}

/// A delta's id as it stands in the file, where the usual form takes half the room.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum StoredId {
    /// 32 hexadecimal digits in lower case.
    Derived([u8; 16]),
    /// Any other text.
    Other(DeltaId),
}

impl From<&DeltaId> for StoredId {
    fn from(id: &DeltaId) -> Self {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let bytes = id.as_str().as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        let bytes = bytes.collect::<Option<Vec<u8>>>().and_then(|bytes| bytes.try_into().ok());
        bytes.map_or_else(|| Self::Other(id.clone()), Self::Derived)
    }
}

impl From<StoredId> for DeltaId {
    fn from(id: StoredId) -> Self {
        match id {
            StoredId::Derived(bytes) => {
                let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
                Self::new(&digits.collect::<String>())
            }
            StoredId::Other(id) => id,
        }
    }
}

impl ToSql for StoredId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Derived(bytes) => bytes.as_slice().into(),
            Self::Other(id) => id.as_str().into(),
        })
    }
}

impl FromSql for StoredId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Blob(bytes) => {
                let bytes = bytes.try_into().map_err(|_| FromSqlError::InvalidType)?;
                Ok(Self::Derived(bytes))
            }
            _ => Ok(Self::Other(DeltaId::new(value.as_str()?))),
        }
    }
}

/// A delta's clock as it stands in the file.
pub(super) enum StoredClock {
    /// That of its client and no other.
    Counter(i64),
    Json(String),
}

impl StoredClock {
    pub(super) fn of(delta: &Delta) -> Result<Self, StoreError> {
        if delta.number > EditNumber(0) {
            return signed(delta.number.0).map(Self::Counter);
        }
        clock_json(&delta.clock()).map(Self::Json)
    }
}

impl ToSql for StoredClock {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Counter(counter) => (*counter).into(),
            Self::Json(text) => text.as_str().into(),
        })
    }
}

/// A delta as its row holds it.
pub(super) struct EncodedDelta {
    pub(super) id: StoredId,
    pub(super) client: ClientId,
    pub(super) clock: StoredClock,
    pub(super) data: String,
    pub(super) timestamp: i64,
}

impl EncodedDelta {
    pub(super) fn encode(delta: &Delta) -> Result<Self, StoreError> {
        Ok(Self {
            id: StoredId::from(&delta.id),
            client: delta.client.clone(),
            clock: StoredClock::of(delta)?,
            data: delta.data(),
            timestamp: signed(delta.timestamp)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_derived_ids_are_stored_as_bytes_and_all_read_back() {
        let derived = "0123456789abcdef0123456789abcdef";
        for (text, is_derived) in [
            (derived, true),
            (&derived.to_uppercase(), false),
            (&derived[1..], false),
            (&derived[2..], false),
            (&format!("{derived}00"), false),
            (&derived.replace('a', "g"), false),
            ("", false),
            ("é", false),
        ] {
            let id = DeltaId::new(text);
            let stored = StoredId::from(&id);
            assert_eq!(matches!(stored, StoredId::Derived(_)), is_derived, "{text}");
            assert_eq!(DeltaId::from(stored), id);
        }
    }
}
