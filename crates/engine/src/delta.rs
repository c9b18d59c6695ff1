//! One edit: what a client changed, when, and under which name it is recognised again. Owns its
//! stored forms; knows no document.

mod bytes;
mod data;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::{EditNumber, VectorClock};
use crate::ids::{ClientId, FieldName, Millis};
use crate::json::JsonText;
use crate::text::TextState;

pub use data::InvalidData;

/// How clients and the stored form write a deleted field.
pub const TOMBSTONE_JSON: &str = r#"{"__deleted":true}"#;

/// The key that decides between two writes of one field: timestamp, then number, then client.
/// A total order, so that merging is commutative, associative and idempotent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WriteKey {
    /// When the user wrote it, as far as the server believes the client's clock.
    pub timestamp: Millis,
    /// Which edit of its client it is.
    pub number: EditNumber,
    /// The client that wrote it, compared by UTF-8 bytes.
    pub client: ClientId,
}

/// What happens to a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The field takes this value.
    Set(JsonText),
    /// The field is deleted. The deletion keeps its key, so that an older write that arrives
    /// later does not bring the field back.
    Delete,
}

impl Change {
    /// Reads a value as clients write it, with `{"__deleted":true}` for a deletion.
    #[must_use]
    pub fn from_json(value: JsonText) -> Self {
        if is_tombstone(value.as_str()) { Self::Delete } else { Self::Set(value) }
    }

    /// The value as clients read it.
    #[must_use]
    pub fn as_json(&self) -> &str {
        match self {
            Self::Set(value) => value.as_str(),
            Self::Delete => TOMBSTONE_JSON,
        }
    }
}

fn is_tombstone(text: &str) -> bool {
    let mut rest = text;
    // White space may stand between these, but not within the name.
    ["{", "\"__deleted\"", ":", "true", "}"].into_iter().all(|token| {
        let after = rest.trim_start().strip_prefix(token);
        rest = after.unwrap_or_default();
        after.is_some()
    })
}

/// What one edit does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Changes {
    /// Writes or deletes fields, no field twice.
    Fields(Vec<(FieldName, Change)>),
    /// Adds to the text. Of a delta, what the text lacked; of a draft, all that its writer sees.
    Text(TextState),
    /// Adds to the counter; a decrement is negative.
    Count(i64),
    /// Changes the set.
    Set(SetChange),
    /// Formats a part of the text: the whole operation as its client wrote it.
    Format(JsonText),
}

/// What happens to a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetChange {
    /// The value is in the set from now on.
    Add(JsonText),
    /// The value is not.
    Remove(JsonText),
    /// Nothing is that was added before.
    Clear,
}

impl From<Vec<(FieldName, Change)>> for Changes {
    fn from(fields: Vec<(FieldName, Change)>) -> Self {
        Self::Fields(fields)
    }
}

impl Changes {
    /// The fields that are written; none by anything else than a field write.
    #[must_use]
    pub fn fields(&self) -> &[(FieldName, Change)] {
        match self {
            Self::Fields(fields) => fields,
            Self::Text(_) | Self::Count(_) | Self::Set(_) | Self::Format(_) => &[],
        }
    }

    /// About how many bytes these take, in memory and in a store.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Fields(fields) => fields
                .iter()
                .map(|(name, change)| name.as_str().len() + change.as_json().len())
                .sum(),
            Self::Text(text) => text.size(),
            Self::Count(_) | Self::Set(SetChange::Clear) => size_of::<i64>(),
            Self::Set(SetChange::Add(value) | SetChange::Remove(value)) | Self::Format(value) => {
                value.as_str().len()
            }
        }
    }

    /// What tells these from other changes of the same client, number and time. No field has a NUL
    /// in its name, so nothing else can be taken for a write of fields.
    fn identity(&self) -> Vec<&str> {
        match self {
            Self::Fields(fields) => fields.iter().map(|(field, _)| field.as_str()).collect(),
            Self::Text(_) => vec!["\0text"],
            Self::Count(_) => vec!["\0counter"],
            Self::Set(SetChange::Add(value)) => vec!["\0add", value.as_str()],
            Self::Set(SetChange::Remove(value)) => vec!["\0remove", value.as_str()],
            Self::Set(SetChange::Clear) => vec!["\0clear"],
            Self::Format(operation) => vec!["\0richtext", operation.as_str()],
        }
    }
}

/// The latest time that an id can tell from a later one: the year 10889.
const TIME_MAX: Millis = (1 << 48) - 1;

/// The name under which a document recognises a delta that comes a second time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeltaId(Arc<str>);

impl DeltaId {
    /// Takes a name chosen by the caller: at most 255 bytes.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The name of what `client` did as its edit `number`, at its own time `timestamp`. A client's
    /// retry carries a new message id but the same of all these.
    ///
    /// Of `changes` only what is needed to tell operations apart has a part in it; of a text all
    /// of it, because clients send several states of a text under one number and time.
    ///
    /// In hex, 48 bits of the timestamp and then the first 80 of a SHA-256. Ids of one time stand
    /// together in an index, whose pages in use stay few. The form is stored, so it must not
    /// change.
    #[must_use]
    pub fn derive(
        client: &ClientId,
        number: EditNumber,
        timestamp: Millis,
        changes: &Changes,
    ) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(client.as_str().as_bytes());
        part(&number.0.to_be_bytes());
        part(&timestamp.to_be_bytes());
        for text in changes.identity() {
            part(text.as_bytes());
        }
        if let Changes::Text(_) = changes {
            part(data::write(changes).as_bytes());
        }
        let time = timestamp.min(TIME_MAX).to_be_bytes();
        let mut text = String::with_capacity(32);
        for byte in time.iter().skip(2).chain(hash.finalize().iter().take(10)) {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DeltaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One edit of one client: all its changes carry one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// Recognises a repeat.
    pub id: DeltaId,
    /// Who made it.
    pub client: ClientId,
    /// Which edit of its client it is.
    pub number: EditNumber,
    /// When the user made it.
    pub timestamp: Millis,
    /// What it does.
    pub changes: Changes,
}

impl Delta {
    /// The delta of an edit that is known by its key.
    #[must_use]
    pub fn of(key: &WriteKey, changes: Changes) -> Self {
        let WriteKey { timestamp, number, client } = key.clone();
        let id = DeltaId::derive(&client, number, timestamp, &changes);
        Self { id, client, number, timestamp, changes }
    }

    /// The clock that has seen this edit only: the form in which stores and messages hold its
    /// number.
    #[must_use]
    pub fn clock(&self) -> VectorClock {
        VectorClock::dot(&self.client, self.number)
    }

    /// The key that decides for each field of this edit.
    #[must_use]
    pub fn key(&self) -> WriteKey {
        WriteKey { timestamp: self.timestamp, number: self.number, client: self.client.clone() }
    }

    /// The changes as JSON, the form in which they are stored: `{"field": value, …}` for fields,
    /// `["text", …]`, `["counter", amount]`, `["set", "add" or "remove", value]`, `["set", "clear"]`
    /// and `["richtext", operation]`. Each value stands in it to the letter.
    #[must_use]
    pub fn data(&self) -> String {
        data::write(&self.changes)
    }

    /// Reads what [`Delta::data`] wrote.
    ///
    /// # Errors
    /// [`InvalidData`] when the text is none of these forms.
    pub fn parse_data(data: &str) -> Result<Changes, InvalidData> {
        data::parse(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str) -> FieldName {
        FieldName::new(name).unwrap()
    }

    fn value(json: &str) -> Change {
        Change::from_json(JsonText::parse(json).unwrap())
    }

    #[test]
    fn stored_data_reads_back_to_the_letter() {
        let changes = vec![
            (field("a\"b"), value(r#"{"y":1,"x":"\ud800\u0000"}"#)),
            (field("__proto__"), value("1e400")),
            (field(""), Change::Delete),
        ];
        let delta = Delta {
            id: DeltaId::new("d"),
            client: ClientId::new("c").unwrap(),
            number: EditNumber(1),
            timestamp: 1,
            changes: changes.into(),
        };
        let data = delta.data();
        assert_eq!(
            data,
            r#"{"a\"b":{"y":1,"x":"\ud800\u0000"},"__proto__":1e400,"":{"__deleted":true}}"#
        );
        assert_eq!(Delta::parse_data(&data).unwrap(), delta.changes);
    }

    #[test]
    fn the_stored_form_of_operations_does_not_change() {
        let json = |text: &str| JsonText::parse(text).unwrap();
        for (changes, data) in [
            (Changes::Count(-2), r#"["counter",-2]"#),
            (Changes::Set(SetChange::Add(json("1e400"))), r#"["set","add",1e400]"#),
            (Changes::Set(SetChange::Remove(json("null"))), r#"["set","remove",null]"#),
            (Changes::Set(SetChange::Clear), r#"["set","clear"]"#),
            (Changes::Format(json(r#"{"a": 1}"#)), r#"["richtext",{"a": 1}]"#),
        ] {
            let key = WriteKey {
                timestamp: 1,
                number: EditNumber(1),
                client: ClientId::new("c").unwrap(),
            };
            let delta = Delta::of(&key, changes);
            assert_eq!(delta.data(), data);
            assert_eq!(Delta::parse_data(data).unwrap(), delta.changes);
        }
        for data in
            ["[]", "[\"counter\"]", "[\"counter\",1.5]", "[\"tree\",1]", "[\"set\",\"add\"]"]
        {
            assert!(Delta::parse_data(data).is_err(), "{data}");
        }
    }

    #[test]
    fn operations_of_one_number_and_time_have_ids_of_their_own() {
        let json = |text: &str| JsonText::parse(text).unwrap();
        let key =
            WriteKey { timestamp: 1, number: EditNumber(1), client: ClientId::new("c").unwrap() };
        let ids = [
            Changes::Fields(vec![(field("counter"), Change::Delete)]),
            Changes::Count(1),
            Changes::Set(SetChange::Add(json("1"))),
            Changes::Set(SetChange::Add(json("2"))),
            Changes::Set(SetChange::Remove(json("1"))),
            Changes::Set(SetChange::Clear),
            Changes::Format(json("1")),
        ]
        .map(|changes| Delta::of(&key, changes).id);
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len());
        assert_eq!(Delta::of(&key, Changes::Count(1)).id, ids[1], "a retry");
    }

    #[test]
    fn a_tombstone_is_known_by_its_one_member() {
        assert_eq!(value(r#"{"__deleted":true}"#), Change::Delete);
        assert_eq!(value(r#"{ "__deleted" : true }"#), Change::Delete);
        for other in [r#"{"__deleted":false}"#, r#"{"__deleted":true,"a":1}"#, "null", "{}"] {
            assert!(matches!(value(other), Change::Set(_)), "{other}");
        }
    }

    #[test]
    fn a_retry_has_the_same_id_and_any_other_edit_another() {
        let id = |client: &str, number, timestamp, fields: &[&str]| {
            let fields = fields.iter().map(|name| (field(name), Change::Delete));
            let changes = Changes::Fields(fields.collect());
            DeltaId::derive(
                &ClientId::new(client).unwrap(),
                EditNumber(number),
                timestamp,
                &changes,
            )
        };
        let first = id("a", 1, 10, &["x"]);
        assert_eq!(first, id("a", 1, 10, &["x"]));
        assert_eq!(first.as_str().len(), 32);
        for other in [
            id("b", 1, 10, &["x"]),
            id("a", 2, 10, &["x"]),
            id("a", 1, 11, &["x"]),
            id("a", 1, 10, &["y"]),
            id("a", 1, 10, &["x", ""]),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn data_that_is_no_object_is_refused() {
        for data in ["", "[]", "1", "{\"a\":}", "{} x"] {
            assert!(Delta::parse_data(data).is_err(), "{data}");
        }
    }
}
