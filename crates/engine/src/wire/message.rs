//! The messages themselves, whatever their framing.

use crate::clock::EditNumber;
use crate::delta::{Change, Changes};
use crate::ids::{ClientId, DocumentId, FieldName, Millis};
use crate::json::JsonText;

use super::error::ErrorReply;

/// A message from a client, with what every message carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The `id`, when it has one.
    pub id: Option<String>,
    /// The time of the message, unless it is missing or makes no sense.
    pub timestamp: Option<Millis>,
    /// What it says.
    pub message: ClientMessage,
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// Who I am; without a token: nobody in particular.
    Auth {
        /// A signed token.
        token: Option<String>,
    },
    /// Follow a document: its state, its fields one by one, then all changes.
    Subscribe(DocumentId),
    /// Stop following it, and its awareness.
    Unsubscribe(DocumentId),
    /// Its state, and follow it.
    SyncRequest(DocumentId),
    /// Its missing operations, of which there are never any.
    SyncStep1(DocumentId),
    /// Changes to a document: a `delta` or a `delta_batch`.
    Edit(Edit),
    /// A part of a frame that is sent in pieces.
    Chunk(Chunk),
    /// Follow a document's awareness.
    AwarenessSubscribe(DocumentId),
    /// My awareness there; without a state I am gone.
    AwarenessUpdate {
        /// Where.
        document: DocumentId,
        /// Who.
        client: ClientId,
        /// Opaque.
        state: Option<JsonText>,
        /// Lamport clock of the state.
        clock: u64,
    },
    /// Received; nobody waits for it.
    Ack,
    /// Are you there?
    Ping,
    /// Here I am; nobody waits for it.
    Pong,
    /// Hello; nothing to do.
    Connect,
    /// Goodbye.
    Disconnect,
}

/// A part of a frame that is sent in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Which frame.
    pub frame: String,
    /// Of how many parts.
    pub total: usize,
    /// Which part, from 0.
    pub index: usize,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Changes to one document, acknowledged together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Where.
    pub document: DocumentId,
    /// What the acknowledgement names: the payload's `messageId`, else the message's `id`.
    pub message_id: Option<String>,
    /// In order; never empty.
    pub operations: Vec<Operation>,
}

/// One operation of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who made it, if it says so.
    pub client: Option<ClientId>,
    /// Its number among its client's, if its clock says so.
    pub number: Option<EditNumber>,
    /// When, if it says so and it makes sense.
    pub timestamp: Option<Millis>,
    /// What it does.
    pub changes: Changes,
}

/// What a connection may do, as `auth_success` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// Documents it may read, `*` for all.
    pub can_read: Vec<String>,
    /// Documents it may write, `*` for all.
    pub can_write: Vec<String>,
    /// Everything.
    pub is_admin: bool,
}

/// One client's awareness in an `awareness_state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAwareness {
    /// Who.
    pub client: ClientId,
    /// Opaque.
    pub state: JsonText,
    /// Lamport clock of the state.
    pub clock: u64,
}

/// A message to a client. Values and clocks are JSON texts, so that one is made for all readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage {
    /// Who the connection is.
    AuthSuccess {
        /// The user.
        user: String,
        /// What it may do.
        permissions: Permissions,
    },
    /// The credentials were refused.
    AuthError(String),
    /// A document's whole state.
    SyncResponse {
        /// The request's id.
        request_id: String,
        /// Which document.
        document: DocumentId,
        /// Field → value, deleted ones left out.
        state: JsonText,
        /// The stamp, under `server` and the connected writers.
        clock: JsonText,
        /// The text state, which clients read out of a JSON string, and its time in ms.
        text: Option<(JsonText, Millis)>,
    },
    /// The current value of a field.
    Delta {
        /// Which document.
        document: DocumentId,
        /// Which field.
        field: FieldName,
        /// Its value, or that it is deleted.
        value: Change,
        /// The stamp, never empty.
        clock: JsonText,
    },
    /// Operations that have no single value.
    DeltaBatch {
        /// Which document.
        document: DocumentId,
        /// Each as clients write it.
        operations: Vec<JsonText>,
        /// Whether all of them are for a text document.
        text: bool,
    },
    /// An edit is stored.
    Ack {
        /// Which one, as the client named it.
        message_id: String,
    },
    /// Here I am.
    Pong,
    /// Everybody's awareness.
    AwarenessState {
        /// Where.
        document: DocumentId,
        /// Who is there.
        states: Vec<ClientAwareness>,
    },
    /// One client's awareness, or that it is gone.
    AwarenessUpdate {
        /// Where.
        document: DocumentId,
        /// Who.
        client: ClientId,
        /// Opaque; none: gone.
        state: Option<JsonText>,
        /// Lamport clock of the state.
        clock: u64,
    },
    /// No operations are missing.
    SyncStep2(DocumentId),
    /// Something was wrong.
    Error(ErrorReply),
}
