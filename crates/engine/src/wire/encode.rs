//! From a message to the bytes that clients read.

use crate::ids::Millis;
use crate::json::{write_number, write_string};

use super::error::ErrorReply;
use super::frame::{Framing, HEADER_BYTES, MessageType};
use super::message::{ClientAwareness, Permissions, ServerMessage};

/// What is written around a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// The time of sending.
    pub now: Millis,
    /// A number that this sender gave no other message; with the time it makes the `id`.
    pub serial: u64,
}

/// Appends one message to `out`, in the framing its reader understands.
pub fn encode(message: &ServerMessage, framing: Framing, about: Outgoing, out: &mut Vec<u8>) {
    let start = out.len();
    open(message.message_type(), framing, about, out);
    write_members(message, out);
    out.push(b'}');
    close(start, 0, framing, out);
}

/// Appends that part of a `sync_response` which tells one reader's from another's. The end, of
/// `end_bytes` bytes, is by [`encode_answer_end`].
pub fn encode_answer_start(
    request_id: &str,
    end_bytes: usize,
    framing: Framing,
    about: Outgoing,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    open(MessageType::SyncResponse, framing, about, out);
    string(out, "requestId", request_id);
    close(start, end_bytes, framing, out);
}

/// Appends that part of a `sync_response` which is the same for all readers, in whatever framing.
/// Nothing for other messages.
pub fn encode_answer_end(message: &ServerMessage, out: &mut Vec<u8>) {
    if let ServerMessage::SyncResponse { .. } = message {
        write_answer(message, out);
        out.push(b'}');
    }
}

fn open(message_type: MessageType, framing: Framing, about: Outgoing, out: &mut Vec<u8>) {
    match framing {
        Framing::Binary => {
            out.push(message_type.code().unwrap_or_default());
            out.extend_from_slice(&about.now.to_be_bytes());
            out.extend_from_slice(&[0; 4]);
        }
        Framing::Json => {}
    }
    out.extend_from_slice(b"{\"id\":\"");
    write_id(out, about);
    out.push(b'"');
    if framing == Framing::Json {
        out.extend_from_slice(b",\"timestamp\":");
        write_number(out, about.now);
        out.extend_from_slice(b",\"type\":\"");
        out.extend_from_slice(message_type.name().as_bytes());
        out.push(b'"');
    }
}

/// Writes the length of what was appended since `start` and of what is still to follow.
fn close(start: usize, following: usize, framing: Framing, out: &mut [u8]) {
    if framing == Framing::Binary {
        let payload = out.len() - start - HEADER_BYTES + following;
        // A payload of 4 GiB cannot come about: every part of it has a far lower bound.
        let length = u32::try_from(payload).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(field) = out.get_mut(start + HEADER_BYTES - 4..start + HEADER_BYTES) {
            field.copy_from_slice(&length);
        }
    }
}

impl ServerMessage {
    fn message_type(&self) -> MessageType {
        match self {
            Self::AuthSuccess { .. } => MessageType::AuthSuccess,
            Self::AuthError(_) => MessageType::AuthError,
            Self::SyncResponse { .. } => MessageType::SyncResponse,
            Self::Delta { .. } => MessageType::Delta,
            Self::DeltaBatch { .. } => MessageType::DeltaBatch,
            Self::Ack { .. } => MessageType::Ack,
            Self::Pong => MessageType::Pong,
            Self::AwarenessState { .. } => MessageType::AwarenessState,
            Self::AwarenessUpdate { .. } => MessageType::AwarenessUpdate,
            Self::SyncStep2(_) => MessageType::SyncStep2,
            Self::Error(_) => MessageType::Error,
        }
    }
}

/// `<ms>-<serial in base 36>`.
fn write_id(out: &mut Vec<u8>, about: Outgoing) {
    write_number(out, about.now);
    out.push(b'-');
    let mut digits = [0_u8; 13];
    let mut rest = about.serial;
    let mut used = 0;
    for place in digits.iter_mut().rev() {
        let digit = u8::try_from(rest % 36).unwrap_or_default();
        *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        rest /= 36;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

fn write_members(message: &ServerMessage, out: &mut Vec<u8>) {
    match message {
        ServerMessage::AuthSuccess { user, permissions } => {
            string(out, "userId", user);
            raw(out, "permissions", "");
            write_permissions(permissions, out);
        }
        ServerMessage::AuthError(error) => string(out, "error", error),
        ServerMessage::SyncResponse { request_id, .. } => {
            string(out, "requestId", request_id);
            write_answer(message, out);
        }
        ServerMessage::Delta { document, field, value, clock } => {
            string(out, "documentId", document.as_str());
            string(out, "field", field.as_str());
            raw(out, "value", value.as_json());
            raw(out, "clock", clock.as_str());
            string(out, "clientId", "server");
        }
        ServerMessage::DeltaBatch { document, operations, text } => {
            string(out, "documentId", document.as_str());
            raw(out, "deltas", "[");
            separated(out, operations, |out, operation| {
                out.extend_from_slice(operation.as_str().as_bytes());
            });
            out.push(b']');
            if *text {
                raw(out, "isTextOperation", "true");
            }
        }
        ServerMessage::Ack { message_id } => string(out, "messageId", message_id),
        ServerMessage::Pong => {}
        ServerMessage::AwarenessState { document, states } => {
            string(out, "documentId", document.as_str());
            raw(out, "states", "[");
            separated(out, states, write_awareness);
            out.push(b']');
        }
        ServerMessage::AwarenessUpdate { document, client, state, clock } => {
            string(out, "documentId", document.as_str());
            string(out, "clientId", client.as_str());
            raw(out, "state", state.as_ref().map_or("null", |state| state.as_str()));
            raw(out, "clock", "");
            write_number(out, *clock);
        }
        ServerMessage::SyncStep2(document) => {
            string(out, "documentId", document.as_str());
            raw(out, "operations", "[]");
        }
        ServerMessage::Error(error) => write_error(error, out),
    }
}

fn write_answer(message: &ServerMessage, out: &mut Vec<u8>) {
    let ServerMessage::SyncResponse { document, state, clock, text, .. } = message else { return };
    string(out, "documentId", document.as_str());
    raw(out, "state", state.as_str());
    raw(out, "deltas", "[]");
    raw(out, "clock", clock.as_str());
    if let Some((state, time)) = text {
        raw(out, "textState", state.as_str());
        raw(out, "textClock", "");
        write_number(out, *time);
    }
}

fn string(out: &mut Vec<u8>, name: &str, value: &str) {
    raw(out, name, "");
    write_string(out, value);
}

fn raw(out: &mut Vec<u8>, name: &str, json: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(json.as_bytes());
}

fn separated<T>(out: &mut Vec<u8>, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}

fn write_permissions(permissions: &Permissions, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"canRead\":[");
    separated(out, &permissions.can_read, |out, id| write_string(out, id));
    out.extend_from_slice(b"],\"canWrite\":[");
    separated(out, &permissions.can_write, |out, id| write_string(out, id));
    out.push(b']');
    raw(out, "isAdmin", if permissions.is_admin { "true" } else { "false" });
    out.push(b'}');
}

fn write_awareness(out: &mut Vec<u8>, awareness: &ClientAwareness) {
    out.extend_from_slice(b"{\"clientId\":");
    write_string(out, awareness.client.as_str());
    raw(out, "state", awareness.state.as_str());
    raw(out, "clock", "");
    write_number(out, awareness.clock);
    out.push(b'}');
}

fn write_error(error: &ErrorReply, out: &mut Vec<u8>) {
    string(out, "error", error.text.unwrap_or_else(|| error.code.text()));
    raw(out, "details", "{\"code\":");
    write_string(out, error.code.as_str());
    for (name, value) in [
        ("reason", &error.reason),
        ("documentId", &error.document),
        ("messageId", &error.message_id),
    ] {
        if let Some(value) = value {
            string(out, name, value);
        }
    }
    out.push(b'}');
}
