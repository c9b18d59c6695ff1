//! What an edit does to a document.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Clock, Json};

/// One operation: in a `delta`, or as an element of a batch.
#[derive(Debug, Clone, Default)]
pub struct Operation {
    /// The replica that writes; none: the connection.
    pub client_id: Option<String>,
    /// The number of the edit, under its client id.
    pub clock: Clock,
    /// When the user made it, in milliseconds since 1970.
    pub timestamp: Option<u64>,
    /// What it does.
    pub change: Change,
}

/// What an operation does.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the members are those of the protocol")]
pub enum Change {
    /// Writes one field.
    Field { field: String, value: Json },
    /// Writes several fields.
    Fields(BTreeMap<String, Json>),
    /// Joins a text; the JSON of its state.
    Text(String),
    /// Counts.
    Counter { operation: Count, value: i64 },
    /// Puts a value into the set.
    Add(Json),
    /// Takes a value out of the set.
    Remove(Json),
    /// Takes all values out of the set.
    Clear,
    /// Any other operation, with its members.
    Other(BTreeMap<String, Json>),
}

/// Which way a counter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names of the protocol")]
pub enum Count {
    Increment,
    Decrement,
}

impl Default for Change {
    fn default() -> Self {
        Self::Fields(BTreeMap::new())
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.change {
            // In a batch `set` is what is meant without a type, and a delta has its own.
            Change::Field { field, value } => {
                map.serialize_entry("field", field)?;
                map.serialize_entry("value", value)?;
            }
            Change::Fields(fields) => map.serialize_entry("delta", fields)?,
            Change::Text(state) => {
                map.serialize_entry("type", "text-state")?;
                map.serialize_entry("state", state)?;
            }
            Change::Counter { operation, value } => {
                map.serialize_entry("type", "counter")?;
                map.serialize_entry("operation", operation)?;
                map.serialize_entry("value", value)?;
            }
            Change::Add(value) => set_operation(&mut map, "add", Some(value))?,
            Change::Remove(value) => set_operation(&mut map, "remove", Some(value))?,
            Change::Clear => set_operation(&mut map, "clear", None)?,
            Change::Other(members) => {
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
            }
        }
        if let Some(client) = &self.client_id {
            map.serialize_entry("clientId", client)?;
        }
        if !self.clock.is_empty() {
            map.serialize_entry("clock", &self.clock)?;
        }
        if let Some(timestamp) = self.timestamp {
            map.serialize_entry("timestamp", &timestamp)?;
        }
        map.end()
    }
}

fn set_operation<M: SerializeMap>(
    map: &mut M,
    name: &str,
    value: Option<&Json>,
) -> Result<(), M::Error> {
    map.serialize_entry("type", "set")?;
    map.serialize_entry("operation", name)?;
    value.map_or(Ok(()), |value| map.serialize_entry("value", value))
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = BTreeMap::<String, Json>::deserialize(deserializer)?;
        let client_id = take(&mut members, "clientId")?;
        let clock = take(&mut members, "clock")?.unwrap_or_default();
        let timestamp = take(&mut members, "timestamp")?;
        members.remove("documentId");
        Ok(Self { client_id, clock, timestamp, change: Change::of_members(members)? })
    }
}

/// Takes a member out, read as what it must be.
fn take<T: for<'a> Deserialize<'a>, E: serde::de::Error>(
    members: &mut BTreeMap<String, Json>,
    name: &str,
) -> Result<Option<T>, E> {
    let read = |json: Json| serde_json::from_str(json.get()).map_err(E::custom);
    members.remove(name).map(read).transpose()
}

impl Change {
    fn of_members<E: serde::de::Error>(mut members: BTreeMap<String, Json>) -> Result<Self, E> {
        let text = |members: &BTreeMap<String, Json>, name| {
            members.get(name).and_then(|json| serde_json::from_str::<String>(json.get()).ok())
        };
        let (kind, operation) = (text(&members, "type"), text(&members, "operation"));
        let kinds = (kind.as_deref().unwrap_or("set"), operation.as_deref());
        let missing = |name| E::missing_field(name);
        Ok(match kinds {
            ("set", None) => match take(&mut members, "delta")? {
                Some(fields) => Self::Fields(fields),
                None => Self::Field {
                    field: take(&mut members, "field")?.ok_or_else(|| missing("field"))?,
                    value: members.remove("value").ok_or_else(|| missing("value"))?,
                },
            },
            ("set", Some("add")) => {
                Self::Add(members.remove("value").ok_or_else(|| missing("value"))?)
            }
            ("set", Some("remove")) => {
                Self::Remove(members.remove("value").ok_or_else(|| missing("value"))?)
            }
            ("set", Some("clear")) => Self::Clear,
            ("text-state", _) => {
                Self::Text(take(&mut members, "state")?.ok_or_else(|| missing("state"))?)
            }
            ("counter", _) => Self::Counter {
                operation: take(&mut members, "operation")?.ok_or_else(|| missing("operation"))?,
                value: take(&mut members, "value")?.ok_or_else(|| missing("value"))?,
            },
            _ => Self::Other(members),
        })
    }
}
