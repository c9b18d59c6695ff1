//! From received bytes to a message, or to the error that says what would have been right. Owns what
//! a message may hold; knows neither connections nor documents.

mod operations;

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;

use crate::clock::EditNumber;
use crate::delta::{Change, Changes};
use crate::ids::{ClientId, DocumentId, FieldName, InvalidName};
use crate::json::{JsonText, nests_too_deep};
use crate::limits::{
    AWARENESS_STATE_BYTES_MAX, BATCH_OPERATIONS_MAX, CHUNKS_MAX, CLOCK_ENTRIES_MAX,
    DELTA_FIELDS_MAX, DOCUMENT_ID_BYTES_MAX, JSON_DEPTH_MAX, MESSAGE_ID_BYTES_MAX, VALUE_BYTES_MAX,
};

use super::error::{ErrorCode, ErrorReply};
use super::frame::{BinaryFrame, Framing, MessageType};
use super::members::{Member, Members, number, string};
use super::message::{Chunk, ClientMessage, Edit, Incoming, Operation};

/// Reads one frame.
///
/// # Errors
/// The answer for the client, naming the message if it could be told which it was.
pub fn decode(framing: Framing, bytes: &[u8]) -> Result<Incoming, Box<ErrorReply>> {
    let (message_type, header_timestamp, mut members) = match framing {
        Framing::Binary => {
            let frame = BinaryFrame::parse(bytes).map_err(invalid_message)?;
            let members = parse_members(frame.payload)?;
            (frame.message_type, u64::try_from(frame.timestamp).ok(), members)
        }
        Framing::Json => {
            let (message_type, members) = json_message(bytes)?;
            (message_type, None, members)
        }
    };
    let id = members.label(Member::Id).map_err(invalid_message)?;
    let id = id.filter(|id| id.len() <= MESSAGE_ID_BYTES_MAX).map(Cow::into_owned);
    let timestamp = members.timestamp();
    let reader = Reader { id: id.as_deref() };
    let message = reader.message(message_type, &mut members).map_err(|error| {
        let name = members.string(Member::DocumentId).ok().flatten();
        let mut error = error.answering(reader.message_id(&members).ok().flatten().as_deref());
        error.document = name.filter(|id| id.len() <= DOCUMENT_ID_BYTES_MAX).map(Cow::into_owned);
        Box::new(error)
    })?;
    let timestamp = timestamp.or(header_timestamp.filter(|ms| *ms > 0));
    Ok(Incoming { id, timestamp, message })
}

fn invalid_message(reason: String) -> Box<ErrorReply> {
    Box::new(ErrorReply::new(ErrorCode::InvalidMessage).because(reason))
}

fn parse_members(payload: &[u8]) -> Result<Members<'_>, Box<ErrorReply>> {
    let text = std::str::from_utf8(payload)
        .map_err(|error| invalid_message(format!("not UTF-8: {error}")))?;
    Members::parse(text).map_err(invalid_message)
}

/// A flat JSON message; members of a nested `payload` count as its own and win.
fn json_message(bytes: &[u8]) -> Result<(MessageType, Members<'_>), Box<ErrorReply>> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut members = parse_members(bytes)?;
    let name = members
        .string(Member::Type)
        .map_err(invalid_message)?
        .ok_or_else(|| invalid_message("a JSON message needs a \"type\"".to_owned()))?;
    let message_type = MessageType::from_name(&name).ok_or_else(|| {
        let error = ErrorReply::new(ErrorCode::InvalidMessage)
            .because(format!("message type {name:?} is not known"));
        Box::new(error.answering(members.label(Member::Id).ok().flatten().as_deref()))
    })?;
    members.flatten().map_err(invalid_message)?;
    Ok((message_type, members))
}

/// Reads the members of one message.
struct Reader<'r> {
    /// The message's id.
    id: Option<&'r str>,
}

type Read<T> = Result<T, ErrorReply>;

fn malformed(reason: String) -> ErrorReply {
    ErrorReply::new(ErrorCode::InvalidMessage).because(reason)
}

fn refused(reason: impl std::fmt::Display) -> ErrorReply {
    ErrorReply::new(ErrorCode::InvalidOperation).because(reason)
}

impl Reader<'_> {
    fn message(&self, message_type: MessageType, members: &mut Members<'_>) -> Read<ClientMessage> {
        Ok(match message_type {
            MessageType::Auth => {
                let token = members.string(Member::Token).map_err(malformed)?;
                ClientMessage::Auth { token: token.map(Cow::into_owned) }
            }
            MessageType::Subscribe => ClientMessage::Subscribe(document(members)?),
            MessageType::Unsubscribe => ClientMessage::Unsubscribe(document(members)?),
            MessageType::SyncRequest => {
                // Nothing is taken from the clock: a reader must not move a document's.
                clock(members, None)?;
                ClientMessage::SyncRequest(document(members)?)
            }
            MessageType::SyncStep1 => ClientMessage::SyncStep1(document(members)?),
            MessageType::Delta => ClientMessage::Edit(self.delta(members)?),
            MessageType::DeltaBatch => ClientMessage::Edit(self.delta_batch(members)?),
            MessageType::DeltaBatchChunk => ClientMessage::Chunk(chunk(members)?),
            MessageType::AwarenessSubscribe => {
                ClientMessage::AwarenessSubscribe(document(members)?)
            }
            MessageType::AwarenessUpdate => awareness_update(members)?,
            MessageType::Ack => ClientMessage::Ack,
            MessageType::Ping => ClientMessage::Ping,
            MessageType::Pong => ClientMessage::Pong,
            MessageType::Connect => ClientMessage::Connect,
            MessageType::Disconnect => ClientMessage::Disconnect,
            MessageType::AuthSuccess
            | MessageType::AuthError
            | MessageType::SyncResponse
            | MessageType::SyncStep2
            | MessageType::AwarenessState
            | MessageType::Error => {
                return Err(malformed(format!("only the server sends {}", message_type.name())));
            }
        })
    }

    fn message_id(&self, members: &Members<'_>) -> Read<Option<String>> {
        let own = members.label(Member::MessageId).map_err(malformed)?;
        match own.as_deref().or(self.id) {
            Some(id) if id.len() > MESSAGE_ID_BYTES_MAX => {
                Err(malformed(format!("a message id holds at most {MESSAGE_ID_BYTES_MAX} bytes")))
            }
            id => Ok(id.map(str::to_owned)),
        }
    }

    fn delta(&self, members: &Members<'_>) -> Read<Edit> {
        let document = document(members)?;
        let operation = operation(members, "set", &document)?.ok_or_else(|| {
            malformed("a delta needs \"field\" and \"value\", or a \"delta\" object".to_owned())
                .text("Invalid delta message: missing or empty delta")
        })?;
        let message_id = self.message_id(members)?;
        Ok(Edit { document, message_id, operations: vec![operation] })
    }

    fn delta_batch(&self, members: &Members<'_>) -> Read<Edit> {
        let document = document(members)?;
        let missing = || {
            malformed("a delta_batch needs a \"deltas\" array that is not empty".to_owned())
                .text("Invalid delta batch: missing or empty deltas array")
        };
        let deltas = members.array(Member::Deltas).map_err(|_| missing())?.unwrap_or_default();
        if deltas.is_empty() {
            return Err(missing());
        }
        if deltas.len() > BATCH_OPERATIONS_MAX {
            return Err(refused(format!(
                "a batch holds at most {BATCH_OPERATIONS_MAX} operations, not {}",
                deltas.len()
            )));
        }
        let mut operations = Vec::with_capacity(deltas.len());
        for (at, raw) in deltas.into_iter().enumerate() {
            operations.push(batch_operation(raw, &document).map_err(|mut error| {
                error.reason = error.reason.map(|reason| format!("deltas[{at}]: {reason}"));
                error
            })?);
        }
        let message_id = self.message_id(members)?;
        Ok(Edit { document, message_id, operations })
    }
}

fn document(members: &Members<'_>) -> Read<DocumentId> {
    let invalid = |reason: String| ErrorReply::new(ErrorCode::InvalidDocumentId).because(reason);
    let id = members.string(Member::DocumentId).map_err(invalid)?;
    let id = id.ok_or_else(|| invalid("\"documentId\" is missing".to_owned()))?;
    DocumentId::new(&id).map_err(|rule| {
        let error = invalid(rule.to_string());
        if id.len() > DOCUMENT_ID_BYTES_MAX {
            error.text("Document ID too long")
        } else if id.is_empty() {
            error
        } else {
            error.text("Document ID contains invalid characters")
        }
    })
}

fn client(members: &Members<'_>) -> Read<Option<ClientId>> {
    let Some(id) = members.string(Member::ClientId).map_err(malformed)? else { return Ok(None) };
    let client = ClientId::new(&id).map_err(refused)?;
    if client.is_server() {
        return Err(refused("the client id \"server\" is the server's own"));
    }
    Ok(Some(client))
}

/// Checks the clock and finds in it the number of an edit of `own`.
fn clock(members: &Members<'_>, own: Option<&ClientId>) -> Read<Option<EditNumber>> {
    let invalid = |reason: String| ErrorReply::new(ErrorCode::InvalidClock).because(reason);
    let given = members.raw(Member::Clock).map_or(Member::VectorClock, |_| Member::Clock);
    let Some(entries) = members.entries(given).map_err(invalid)? else { return Ok(None) };
    if entries.len() > CLOCK_ENTRIES_MAX {
        return Err(invalid(format!("a clock holds at most {CLOCK_ENTRIES_MAX} entries")));
    }
    let mut found = None;
    for (client, raw) in entries {
        let count = number(raw, &client).map_err(invalid)?;
        if own.is_some_and(|own| own.as_str() == client) {
            found = Some(EditNumber(count)).filter(|_| count > 0);
        }
    }
    Ok(found)
}

fn batch_operation(raw: &RawValue, document: &DocumentId) -> Read<Operation> {
    let members = Members::parse(raw.get()).map_err(malformed)?;
    let name = members.string(Member::Type).map_err(malformed)?.unwrap_or(Cow::Borrowed("set"));
    if let Some(operation) = operation(&members, &name, document)? {
        return Ok(operation);
    }
    let changes = operations::changes(&name, raw, &members)?;
    written(&members, changes)
}

/// An operation with its author, number and time.
fn written(members: &Members<'_>, changes: Changes) -> Read<Operation> {
    let client = client(members)?;
    let number = clock(members, client.as_ref())?;
    Ok(Operation { number, client, timestamp: members.timestamp(), changes })
}

/// A write of fields, if that is what it is: its `type` is `set` and it names fields.
fn operation(members: &Members<'_>, name: &str, document: &DocumentId) -> Read<Option<Operation>> {
    if let Some(other) = members.string(Member::DocumentId).map_err(malformed)?
        && other != document.as_str()
    {
        return Err(refused("the operation names another document than its message"));
    }
    if name != "set" {
        return Ok(None);
    }
    let Some(changes) = changes(members)? else { return Ok(None) };
    written(members, Changes::Fields(changes)).map(Some)
}

fn changes(members: &Members<'_>) -> Read<Option<Vec<(FieldName, Change)>>> {
    if let Some(fields) = members.entries(Member::Delta).map_err(malformed)? {
        if fields.len() > DELTA_FIELDS_MAX {
            return Err(refused(format!("a delta writes at most {DELTA_FIELDS_MAX} fields")));
        }
        let mut changes: Vec<(FieldName, Change)> = Vec::with_capacity(fields.len());
        let mut places = std::collections::BTreeMap::new();
        for (name, raw) in fields {
            let change = change(Some(raw))?;
            let field = FieldName::new(&name).map_err(refused)?;
            match places.get(&field).and_then(|place| changes.get_mut::<usize>(*place)) {
                Some(earlier) => earlier.1 = change,
                None => {
                    places.insert(field.clone(), changes.len());
                    changes.push((field, change));
                }
            }
        }
        return Ok(Some(changes).filter(|changes| !changes.is_empty()));
    }
    let Some(raw) = members.raw(Member::Field) else { return Ok(None) };
    let name = string(raw, "field").map_err(refused)?;
    let field = FieldName::new(&name).map_err(refused)?;
    Ok(Some(vec![(field, change(members.raw_or_null(Member::Value))?)]))
}

/// A missing value is `null`: JavaScript leaves out what is undefined.
fn change(raw: Option<&RawValue>) -> Read<Change> {
    raw.map_or_else(|| Ok(JsonText::null()), value).map(Change::from_json)
}

/// A value within the limits.
fn value(raw: &RawValue) -> Read<JsonText> {
    if raw.get().len() > VALUE_BYTES_MAX {
        return Err(refused(InvalidValue::TooLarge));
    }
    if nests_too_deep(raw.get().as_bytes()) {
        return Err(refused(InvalidValue::TooDeep));
    }
    Ok(JsonText::from(raw))
}

#[derive(Debug, thiserror::Error)]
enum InvalidValue {
    #[error("a value holds at most {VALUE_BYTES_MAX} bytes of JSON")]
    TooLarge,
    #[error("a value nests at most {JSON_DEPTH_MAX} levels")]
    TooDeep,
}

fn chunk(members: &Members<'_>) -> Read<Chunk> {
    let need = |member: Member| malformed(format!("\"{}\" is missing", member.name()));
    let text = |member| members.string(member).map_err(malformed)?.ok_or_else(|| need(member));
    let number = |member| {
        let number = members.number(member).map_err(malformed)?.ok_or_else(|| need(member))?;
        usize::try_from(number).map_err(|_| malformed(format!("{number} is too large")))
    };
    let (total, index) = (number(Member::TotalChunks)?, number(Member::ChunkIndex)?);
    if !(1..=CHUNKS_MAX).contains(&total) || index >= total {
        return Err(refused(format!(
            "a frame comes in 1 to {CHUNKS_MAX} chunks, counted from 0; not {index} of {total}"
        )));
    }
    let data = BASE64_STANDARD.decode(text(Member::Data)?.as_bytes());
    let data = data.map_err(|error| malformed(format!("\"data\" must be base64: {error}")))?;
    let frame = text(Member::ChunkId)?;
    if frame.len() > MESSAGE_ID_BYTES_MAX {
        return Err(malformed(format!("\"chunkId\" holds at most {MESSAGE_ID_BYTES_MAX} bytes")));
    }
    Ok(Chunk { frame: frame.into_owned(), total, index, data })
}

fn awareness_update(members: &Members<'_>) -> Read<ClientMessage> {
    let document = document(members)?;
    let client = client(members)?.ok_or_else(|| malformed("\"clientId\" is missing".to_owned()))?;
    let clock = members
        .number(Member::Clock)
        .map_err(|reason| ErrorReply::new(ErrorCode::InvalidClock).because(reason))?
        .unwrap_or(0);
    let state = members.raw(Member::State);
    if let Some(raw) = state {
        if !raw.get().starts_with('{') {
            return Err(refused("a presence \"state\" is an object, or null to leave"));
        }
        if raw.get().len() > AWARENESS_STATE_BYTES_MAX {
            return Err(refused(format!(
                "a presence state holds at most {AWARENESS_STATE_BYTES_MAX} bytes"
            )));
        }
        if nests_too_deep(raw.get().as_bytes()) {
            return Err(refused(InvalidValue::TooDeep));
        }
    }
    let state = state.map(JsonText::from);
    Ok(ClientMessage::AwarenessUpdate { document, client, state, clock })
}

impl From<InvalidName> for ErrorReply {
    fn from(rule: InvalidName) -> Self {
        refused(rule)
    }
}
