//! What clients say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::{Clock, Json, Operation};
use crate::framing::MessageType;

/// A message of a client.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
#[expect(missing_docs, reason = "the members are those of the protocol")]
pub enum ClientMessage {
    /// First on a connection, if the client has a token.
    Auth {
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
    /// Asks for a document and all changes from then on.
    Subscribe { document_id: String },
    /// Ends the changes and the awareness of a document.
    Unsubscribe { document_id: String },
    /// Asks for the fields and the text of a document.
    SyncRequest {
        document_id: String,
        #[serde(skip_serializing_if = "Clock::is_empty")]
        clock: Clock,
    },
    /// Asks whether a document can be read.
    SyncStep1 { document_id: String },
    /// One write of fields.
    Delta {
        document_id: String,
        #[serde(flatten)]
        operation: Operation,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<String>,
    },
    /// Operations that are stored together or not at all.
    DeltaBatch {
        document_id: String,
        deltas: Vec<Operation>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<String>,
    },
    /// A piece of a frame.
    DeltaBatchChunk(Chunk),
    /// Asks for a pong.
    Ping {},
    /// Who this client is, or that it leaves.
    AwarenessUpdate { document_id: String, client_id: String, state: Option<Json>, clock: u64 },
    /// Asks who is here, and for every change from then on.
    AwarenessSubscribe { document_id: String },
}

/// A piece of a frame that holds an edit.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chunk {
    /// The same for all pieces.
    pub chunk_id: String,
    /// How many there are.
    pub total_chunks: u32,
    /// Which this is, from 0.
    pub chunk_index: u32,
    /// A part of the frame, header included.
    #[serde(serialize_with = "in_base64")]
    pub data: Vec<u8>,
}

impl ClientMessage {
    /// Its type.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        match self {
            Self::Auth { .. } => MessageType::Auth,
            Self::Subscribe { .. } => MessageType::Subscribe,
            Self::Unsubscribe { .. } => MessageType::Unsubscribe,
            Self::SyncRequest { .. } => MessageType::SyncRequest,
            Self::SyncStep1 { .. } => MessageType::SyncStep1,
            Self::Delta { .. } => MessageType::Delta,
            Self::DeltaBatch { .. } => MessageType::DeltaBatch,
            Self::DeltaBatchChunk(_) => MessageType::DeltaBatchChunk,
            Self::Ping {} => MessageType::Ping,
            Self::AwarenessUpdate { .. } => MessageType::AwarenessUpdate,
            Self::AwarenessSubscribe { .. } => MessageType::AwarenessSubscribe,
        }
    }

    /// The payload of the binary framing.
    ///
    /// # Errors
    /// When a value in it has no JSON form.
    pub fn payload(&self, id: Option<&str>) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Members { kind: None, id, timestamp: None, message: self })
    }

    /// The text of the JSON framing.
    ///
    /// # Errors
    /// When a value in it has no JSON form.
    pub fn text(&self, time: u64, id: Option<&str>) -> Result<String, serde_json::Error> {
        let kind = Some(self.message_type().name());
        // A delta has one place for the time of its message and that of its write, and the latter is
        // what must not change when it is sent again.
        let is_in_message =
            matches!(self, Self::Delta { operation, .. } if operation.timestamp.is_some());
        let timestamp = Some(time).filter(|_| !is_in_message);
        serde_json::to_string(&Members { kind, id, timestamp, message: self })
    }
}

#[derive(Serialize)]
struct Members<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(flatten)]
    message: &'a ClientMessage,
}

fn in_base64<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(data))
}
