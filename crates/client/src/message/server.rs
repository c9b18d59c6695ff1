//! What the server says.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Clock, Json, Operation};
use crate::framing::MessageType;

/// A message of the server.
#[derive(Debug)]
#[expect(missing_docs, reason = "the types say it")]
pub enum ServerMessage {
    AuthSuccess(AuthSuccess),
    AuthError(AuthError),
    SyncResponse(SyncResponse),
    SyncStep2(SyncStep2),
    Delta(FieldDelta),
    DeltaBatch(OperationBatch),
    Ack(Ack),
    Pong,
    AwarenessUpdate(AwarenessUpdate),
    AwarenessState(AwarenessState),
    Error(ErrorReply),
}

/// Who this connection is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members of the protocol")]
pub struct AuthSuccess {
    pub user_id: String,
    pub permissions: Permissions,
}

/// What a user may do; documents are ids, or `*`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members of the protocol")]
pub struct Permissions {
    pub can_read: Vec<String>,
    pub can_write: Vec<String>,
    pub is_admin: bool,
}

/// The credentials were refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the members of the protocol")]
pub struct AuthError {
    pub error: String,
}

/// A document as it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncResponse {
    /// The id of the request.
    pub request_id: String,
    /// The document.
    pub document_id: String,
    /// Fields that have a value.
    pub state: BTreeMap<String, Json>,
    /// Empty if nobody ever wrote the document.
    pub clock: Clock,
    /// The JSON of the text.
    pub text_state: Option<String>,
    /// The time of the text's newest edit.
    pub text_clock: Option<u64>,
}

/// The answer to `sync_step1`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members of the protocol")]
pub struct SyncStep2 {
    pub document_id: String,
}

/// The newest value of a field.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members of the protocol")]
pub struct FieldDelta {
    pub document_id: String,
    pub field: String,
    pub value: Json,
    pub clock: Clock,
}

/// Operations on what is no field.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members of the protocol")]
pub struct OperationBatch {
    pub document_id: String,
    pub deltas: Vec<Operation>,
}

/// An edit is stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members of the protocol")]
pub struct Ack {
    pub message_id: String,
}

/// One client says something else than before.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwarenessUpdate {
    /// The document.
    pub document_id: String,
    /// Who says it.
    pub client_id: String,
    /// None: it left.
    pub state: Option<Json>,
    /// Counts the states.
    pub clock: u64,
}

/// Everybody who is here.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members of the protocol")]
pub struct AwarenessState {
    pub document_id: String,
    pub states: Vec<AwarenessEntry>,
}

/// What one client says of itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the members of the protocol")]
pub struct AwarenessEntry {
    pub client_id: String,
    pub state: Json,
    pub clock: u64,
}

/// Something was refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ErrorReply {
    /// For people.
    pub error: String,
    /// For programs.
    #[serde(default)]
    pub details: ErrorDetails,
}

/// What an error is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorDetails {
    /// What to branch on.
    pub code: String,
    /// What was wrong and what would be right.
    pub reason: Option<String>,
    /// The document as the client named it.
    pub document_id: Option<String>,
    /// The edit's, else the id of the message that is answered.
    pub message_id: Option<String>,
}

impl ErrorDetails {
    /// Whether the same message may be taken later.
    #[must_use]
    pub fn is_for_later(&self) -> bool {
        matches!(self.code.as_str(), "STORAGE_UNAVAILABLE" | "RATE_LIMIT_EXCEEDED")
    }
}

impl ServerMessage {
    /// Reads a payload, or a whole text message. None: only clients say this.
    ///
    /// # Errors
    /// When the members are not those of the type.
    pub fn decode(kind: MessageType, json: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        fn read<T: DeserializeOwned>(
            json: &[u8],
            message: impl FnOnce(T) -> ServerMessage,
        ) -> Result<Option<ServerMessage>, serde_json::Error> {
            serde_json::from_slice(json).map(|members| Some(message(members)))
        }
        match kind {
            MessageType::AuthSuccess => read(json, Self::AuthSuccess),
            MessageType::AuthError => read(json, Self::AuthError),
            MessageType::SyncResponse => read(json, Self::SyncResponse),
            MessageType::SyncStep2 => read(json, Self::SyncStep2),
            MessageType::Delta => read(json, Self::Delta),
            MessageType::DeltaBatch => read(json, Self::DeltaBatch),
            MessageType::Ack => read(json, Self::Ack),
            MessageType::Pong => Ok(Some(Self::Pong)),
            MessageType::AwarenessUpdate => read(json, Self::AwarenessUpdate),
            MessageType::AwarenessState => read(json, Self::AwarenessState),
            MessageType::Error => read(json, Self::Error),
            MessageType::Auth
            | MessageType::Subscribe
            | MessageType::Unsubscribe
            | MessageType::SyncRequest
            | MessageType::SyncStep1
            | MessageType::DeltaBatchChunk
            | MessageType::Ping
            | MessageType::AwarenessSubscribe => Ok(None),
        }
    }
}
