//! What clients send and get: edits and states.

use serde_json::{Value, json};

/// One write of one field. Sent again as it is, it is a repeat.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Edit {
    pub(crate) document: String,
    pub(crate) client: String,
    pub(crate) counter: u64,
    pub(crate) timestamp: u64,
    pub(crate) field: String,
    pub(crate) value: Value,
}

/// A document as a server shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) fields: Value,
    /// `clock.server`; 0 before the first write.
    pub(crate) stamp: u64,
}

impl Edit {
    pub(crate) fn message(&self, message_id: &str) -> Value {
        let Self { document, client, counter, timestamp, field, value } = self;
        json!({
            "type": "delta",
            "documentId": document,
            "field": field,
            "value": value,
            "clock": { client.as_str(): counter },
            "clientId": client,
            "timestamp": timestamp,
            "messageId": message_id,
        })
    }
}

pub(crate) fn tombstone() -> Value {
    json!({ "__deleted": true })
}
