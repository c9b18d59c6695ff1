//! What clients and the server say to each other, as types; JSON is made and read here.

mod client;
mod operation;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::connection::{Connection, Message};
use crate::framing::{BinaryFrame, FrameError, Framing, MessageType};

pub use client::{Chunk, ClientMessage};
pub use operation::{Change, Count, Operation};
pub use server::{
    Ack, AuthError, AuthSuccess, AwarenessEntry, AwarenessState, AwarenessUpdate, ErrorDetails,
    ErrorReply, FieldDelta, OperationBatch, Permissions, ServerMessage, SyncResponse, SyncStep2,
};

/// A JSON value, to the letter.
pub type Json = Arc<RawValue>;

/// Client → number.
pub type Clock = BTreeMap<String, u64>;

/// What is no message of the protocol.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The frame is too short.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The JSON does not have the form of its type.
    #[error("not a message: {0}")]
    Json(#[from] serde_json::Error),
}

/// A message that arrived, with when the server says it was sent.
#[derive(Debug)]
pub struct Received {
    /// Milliseconds since 1970.
    pub time: i64,
    /// What it says; none: it is of a type that this client does not know, to be passed over.
    pub message: Option<ServerMessage>,
}

/// Any value as JSON.
///
/// # Errors
/// When the value has no JSON form, such as a map whose keys are no texts.
pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Json, serde_json::Error> {
    serde_json::value::to_raw_value(value).map(Json::from)
}

/// What the server said, in whatever framing.
///
/// # Errors
/// [`MessageError`] when it is no message.
pub fn decode(message: Message<'_>) -> Result<Received, MessageError> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(rename = "type", borrow)]
        name: std::borrow::Cow<'a, str>,
        #[serde(default)]
        timestamp: i64,
    }
    match message {
        Message::Binary(bytes) => {
            let frame = BinaryFrame::parse(bytes)?;
            let decode = |kind| ServerMessage::decode(kind, frame.payload);
            let message = frame.message_type().map(decode).transpose()?.flatten();
            Ok(Received { time: frame.time, message })
        }
        Message::Text(text) => {
            let head: Head<'_> = serde_json::from_str(text)?;
            let decode = |kind| ServerMessage::decode(kind, text.as_bytes());
            let message = MessageType::from_name(&head.name).map(decode).transpose()?.flatten();
            Ok(Received { time: head.timestamp, message })
        }
    }
}

impl Connection {
    /// Queues a message, with an id that answers to it name.
    ///
    /// # Errors
    /// When a value in it has no JSON form.
    pub fn queue(
        &mut self,
        framing: Framing,
        time: u64,
        id: Option<&str>,
        message: &ClientMessage,
    ) -> Result<(), serde_json::Error> {
        match framing {
            Framing::Binary => {
                let payload = message.payload(id)?;
                self.queue_binary(message.message_type().code(), time, |out| {
                    out.extend_from_slice(&payload);
                });
            }
            Framing::Json => self.queue_text(&message.text(time, id)?),
        }
        Ok(())
    }
}
