//! One edit: what a client changed, when, and under which name it is recognised again.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::clock::VectorClock;
use crate::ids::{ClientId, FieldName, Millis};
use crate::json::{JsonText, write_string};

/// How clients and the stored form write a deleted field.
pub const TOMBSTONE_JSON: &str = r#"{"__deleted":true}"#;

/// The key that decides between two writes of one field: timestamp, then counter, then client.
/// A total order, so that merging is commutative, associative and idempotent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// When the user wrote it, as far as the server believes the client's clock.
    pub timestamp: Millis,
    /// Which edit of its client it is.
    pub counter: u64,
    /// The client that wrote it, compared by UTF-8 bytes.
    pub client: ClientId,
}

/// What happens to a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The field takes this value.
    Set(JsonText),
    /// The field is deleted. The deletion keeps its stamp, so that an older write that arrives
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

    /// The name of what `client` did as its `counter`-th edit, at its own time `timestamp`, to
    /// `fields`. A client's retry carries a new message id but the same of all these.
    ///
    /// In hex, 48 bits of the timestamp and then the first 80 of a SHA-256. Ids of one time stand
    /// together in an index, whose pages in use stay few. The form is stored, so it must not
    /// change.
    #[must_use]
    pub fn derive<'a>(
        client: &ClientId,
        counter: u64,
        timestamp: Millis,
        fields: impl Iterator<Item = &'a FieldName>,
    ) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(client.as_str().as_bytes());
        part(&counter.to_be_bytes());
        part(&timestamp.to_be_bytes());
        for field in fields {
            part(field.as_str().as_bytes());
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

/// One edit of one client: all its changes carry one stamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Recognises a repeat.
    pub id: DeltaId,
    /// Who made it.
    pub client: ClientId,
    /// What the edit adds to the document's clock; its own counter is `clock[client]`.
    pub clock: VectorClock,
    /// When the user made it.
    pub timestamp: Millis,
    /// Field by field, no field twice.
    pub changes: Vec<(FieldName, Change)>,
}

/// Stored data that is not an object of changes.
#[derive(Debug, thiserror::Error)]
#[error("a delta's data is a JSON object of field changes: {0}")]
pub struct InvalidData(#[from] serde_json::Error);

impl Delta {
    /// The counter of this edit among its client's.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.clock.get(self.client.as_str())
    }

    /// The key that decides for each field of this edit.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp { timestamp: self.timestamp, counter: self.counter(), client: self.client.clone() }
    }

    /// The changes as a JSON object `{"field": value, …}`, the form in which they are stored.
    /// Each value stands in it to the letter.
    #[must_use]
    pub fn data(&self) -> String {
        let mut out = Vec::with_capacity(64);
        out.push(b'{');
        for (at, (field, change)) in self.changes.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_string(&mut out, field.as_str());
            out.push(b':');
            out.extend_from_slice(change.as_json().as_bytes());
        }
        out.push(b'}');
        // Made of str parts and ASCII only.
        String::from_utf8(out).unwrap_or_default()
    }

    /// Reads what [`Delta::data`] wrote.
    ///
    /// # Errors
    /// [`InvalidData`] when the text is not an object whose keys are field names.
    pub fn parse_data(data: &str) -> Result<Vec<(FieldName, Change)>, InvalidData> {
        struct Changes;
        impl<'de> serde::de::Visitor<'de> for Changes {
            type Value = Vec<(FieldName, Change)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A>(self, mut map: A) -> Result<Self::Value, A::Error>
            where
                A: serde::de::MapAccess<'de>,
            {
                let mut changes = Vec::new();
                while let Some((field, value)) = map.next_entry::<FieldName, &RawValue>()? {
                    changes.push((field, Change::from_json(value.into())));
                }
                Ok(changes)
            }
        }
        let mut parser = serde_json::Deserializer::from_str(data);
        let changes = serde::Deserializer::deserialize_map(&mut parser, Changes)?;
        parser.end()?;
        Ok(changes)
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
        let client = ClientId::new("c").unwrap();
        let delta = Delta {
            id: DeltaId::new("d"),
            clock: VectorClock::dot(&client, 1),
            client,
            timestamp: 1,
            changes,
        };
        let data = delta.data();
        assert_eq!(
            data,
            r#"{"a\"b":{"y":1,"x":"\ud800\u0000"},"__proto__":1e400,"":{"__deleted":true}}"#
        );
        assert_eq!(Delta::parse_data(&data).unwrap(), delta.changes);
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
        let id = |client: &str, counter, timestamp, fields: &[&str]| {
            let fields: Vec<_> = fields.iter().map(|name| field(name)).collect();
            DeltaId::derive(&ClientId::new(client).unwrap(), counter, timestamp, fields.iter())
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
