//! What clients send: messages that are nearly right, in all framings.
//!
//! Slots that are free stand for what is most common, so that inputs keep their meaning when a new
//! kind takes one.

use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Change, Changes, Delta, DeltaId, SetChange};
use synckit_engine::ids::{ClientId, FieldName, Millis};
use synckit_engine::json::{JsonText, write_string};
use synckit_engine::text::TextState;
use synckit_engine::wire::{FrameKind, MessageType};

use crate::input::Input;

/// The documents that have a room.
pub(super) const DOCUMENTS: [&str; 2] = ["doc-1", "note-1"];

const DOCUMENT_IDS: [&str; 6] =
    ["\"doc-1\"", "\"note-1\"", "\"doc-1\"", "\"c\"", "\"not valid\"", "7"];
const CLIENTS: [&str; 6] = ["ann", "bob", "é\\\"", "server", "x", ""];
const FIELDS: [&str; 4] = ["x", "y", "__proto__", "é\\\"\\\\"];
const NUMBERS: [&str; 8] = ["1", "2", "3", "4", "9", "281474976710656", "281474976710657", "-1"];
const VALUES: [&str; 12] = [
    "1",
    "2",
    "\"text\"",
    "null",
    "{\"__deleted\":true}",
    "{ \"__deleted\" : true }",
    "{\"__deleted\":false}",
    "{\"b\":[1,2.5,null],\"a\":{\"n\":\"é\"}}",
    "\"\\ud800\\u0000\"",
    "1e400",
    "[]",
    "\"\\\"\\\\\\n\"",
];

/// Of these, fewer than the messages that are held before authentication make more bytes than are.
const LONG_BYTES: usize = 20 << 10;

/// A frame that a client sends at `now`; no other of its messages has this `serial`.
pub(super) fn frame(input: &mut Input<'_>, now: Millis, serial: u64) -> (FrameKind, Vec<u8>) {
    let (message_type, mut members) = message(input, now, serial);
    match input.below(8) {
        0 => members.push(format!("\"id\":\"id-{serial}\"")),
        1 => members.push(format!("\"id\":{serial}")),
        2 => members.push(format!("\"timestamp\":{}", time(input, now))),
        _ => {}
    }
    let members = members.join(",");
    let shape = input.below(8);
    match (shape, message_type.code()) {
        (0..4, Some(code)) => {
            let payload = format!("{{{members}}}");
            (FrameKind::Binary, binary(code, now, payload.as_bytes()))
        }
        (4, _) => {
            let name = message_type.name();
            let text = format!("{{\"payload\":{{{members}}},\"type\":\"{name}\"}}");
            (FrameKind::Text, text.into_bytes())
        }
        (shape, _) => {
            let comma = if members.is_empty() { "" } else { "," };
            let text = format!("{{{members}{comma}\"type\":\"{}\"}}", message_type.name());
            (if shape == 5 { FrameKind::Binary } else { FrameKind::Text }, text.into_bytes())
        }
    }
}

fn binary(code: u8, now: Millis, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [&[code][..], &now.to_be_bytes(), &length.to_be_bytes(), payload].concat()
}

fn message(input: &mut Input<'_>, now: Millis, serial: u64) -> (MessageType, Vec<String>) {
    match input.below(32) {
        0 => (MessageType::Auth, vec!["\"token\":\"t\"".to_owned()]),
        1 | 2 => (MessageType::Subscribe, vec![document(input)]),
        3 => (MessageType::Unsubscribe, vec![document(input)]),
        4 => (MessageType::SyncRequest, vec![document(input)]),
        5 => (MessageType::SyncStep1, vec![document(input)]),
        6 => (MessageType::DeltaBatchChunk, chunk(input)),
        7 => (MessageType::AwarenessSubscribe, vec![document(input)]),
        8 | 9 => (MessageType::AwarenessUpdate, awareness_update(input)),
        10 => (MessageType::Ack, vec!["\"messageId\":\"m\"".to_owned()]),
        11 => (MessageType::Ping, Vec::new()),
        12 => (MessageType::Pong, Vec::new()),
        13 => (MessageType::Connect, Vec::new()),
        14 if input.rarely() => (MessageType::Disconnect, Vec::new()),
        15 | 16 => (MessageType::DeltaBatch, batch(input, now, serial)),
        _ => {
            let mut members = vec![document(input)];
            members.extend(operation(input, now));
            members.extend(message_id(input, serial));
            (MessageType::Delta, members)
        }
    }
}

fn document(input: &mut Input<'_>) -> String {
    format!("\"documentId\":{}", input.pick(&DOCUMENT_IDS))
}

fn message_id(input: &mut Input<'_>, serial: u64) -> Option<String> {
    match input.below(8) {
        0 => None,
        1 => Some(format!("\"messageId\":{serial}")),
        // May be one that the session makes up.
        2 => Some(format!("\"messageId\":\"m-{}\"", input.below(4))),
        _ => Some(format!("\"messageId\":\"own-{serial}\"")),
    }
}

fn batch(input: &mut Input<'_>, now: Millis, serial: u64) -> Vec<String> {
    let count = if input.rarely() { input.below(64) } else { input.below(4) };
    let operations: Vec<_> =
        (0..count).map(|_| format!("{{{}}}", operation(input, now).join(","))).collect();
    let mut members = vec![document(input), format!("\"deltas\":[{}]", operations.join(","))];
    members.extend(message_id(input, serial));
    members
}

/// The members of one operation. A new kind of operation joins here.
fn operation(input: &mut Input<'_>, now: Millis) -> Vec<String> {
    let mut members = match input.below(16) {
        0 => vec!["\"type\":\"text\"".to_owned(), "\"operation\":{}".to_owned()],
        1 => {
            let fields: Vec<_> = (0..input.below(4))
                .map(|_| format!("\"{}\":{}", input.pick(&FIELDS), value(input)))
                .collect();
            vec![format!("\"delta\":{{{}}}", fields.join(","))]
        }
        2 => vec![format!("\"field\":\"{}\"", input.pick(&FIELDS))],
        3 => vec![document(input), "\"field\":\"x\"".to_owned()],
        4 | 5 => {
            let mut state = Vec::new();
            write_string(&mut state, &crate::text::json(input));
            let state = String::from_utf8_lossy(&state).into_owned();
            vec!["\"type\":\"text-state\"".to_owned(), format!("\"state\":{state}")]
        }
        6 => {
            let operation = input.pick(&["increment", "decrement"]);
            let amount = input.pick(&["1", "-2", "9007199254740991", "9007199254740992"]);
            operation_of("counter", operation, amount)
        }
        7 => {
            let operation = *input.pick(&["add", "remove", "clear"]);
            operation_of("set", operation, &value(input))
        }
        8 => operation_of("richtext", "format", &value(input)),
        _ => {
            let field = format!("\"field\":\"{}\"", input.pick(&FIELDS));
            vec![field, format!("\"value\":{}", value(input))]
        }
    };
    let client = input.pick(&CLIENTS);
    match input.below(8) {
        0 => {}
        1 => members.push(format!("\"clientId\":\"{client}\"")),
        kind => {
            let name = if kind == 2 { "vectorClock" } else { "clock" };
            members.push(format!("\"clientId\":\"{client}\""));
            members.push(format!("\"{name}\":{{\"{client}\":{}}}", input.pick(&NUMBERS)));
        }
    }
    if input.rarely() {
        members.push(format!("\"timestamp\":{}", time(input, now)));
    }
    members
}

fn operation_of(kind: &str, operation: &str, value: &str) -> Vec<String> {
    vec![
        format!("\"type\":\"{kind}\""),
        format!("\"operation\":\"{operation}\""),
        format!("\"value\":{value}"),
    ]
}

fn value(input: &mut Input<'_>) -> String {
    match input.byte() {
        255 if input.rarely() => format!("\"{}\"", "v".repeat(LONG_BYTES)),
        // About as deep as a value may be.
        254 => {
            let depth = 62 + usize::from(input.below(4));
            format!("{}{}", "[".repeat(depth), "]".repeat(depth))
        }
        slot => VALUES[usize::from(slot) % VALUES.len()].to_owned(),
    }
}

fn time(input: &mut Input<'_>, now: Millis) -> i128 {
    let now = i128::from(now);
    match input.below(8) {
        0 => -1,
        1 => 0,
        2 => i128::from(u64::MAX),
        3 => now + 86_400_000,
        4 => now - 60 * 86_400_000,
        _ => now - i128::from(input.byte()),
    }
}

fn awareness_update(input: &mut Input<'_>) -> Vec<String> {
    let mut members = vec![document(input)];
    match input.below(16) {
        // Many names of one connection.
        0..8 => members.push(format!("\"clientId\":\"many-{}\"", input.byte())),
        _ => members.push(format!("\"clientId\":\"{}\"", input.pick(&CLIENTS))),
    }
    match input.below(4) {
        0 => members.push("\"state\":null".to_owned()),
        1 => members.push(format!("\"state\":{}", value(input))),
        _ => members.push(format!("\"state\":{{\"cursor\":{}}}", input.byte())),
    }
    members.push(format!("\"clock\":{}", input.pick(&NUMBERS)));
    members
}

fn chunk(input: &mut Input<'_>) -> Vec<String> {
    // The Base64 of an object.
    let data = *input.pick(&["e30=", "eyJkb2N1bWVudElkIjoi", "not Base64"]);
    vec![
        format!("\"chunkId\":\"c{}\"", input.below(3)),
        format!("\"totalChunks\":{}", input.below(4)),
        format!("\"chunkIndex\":{}", input.below(4)),
        format!("\"data\":\"{data}\""),
    ]
}

/// An edit that another node stored.
pub(super) fn foreign_delta(input: &mut Input<'_>, now: Millis) -> Delta {
    let client = foreign_client(input);
    let number = EditNumber([1, 2, 3, 7, 1 << 48][usize::from(input.below(5))]);
    let timestamp = now - u64::from(input.byte());
    let changes = foreign_changes(input);
    let id = DeltaId::derive(&client, number, timestamp, &changes);
    Delta { id, client, number, timestamp, changes }
}

fn foreign_changes(input: &mut Input<'_>) -> Changes {
    let kind = input.below(8);
    let value = JsonText::parse(VALUES[usize::from(input.below(12))]);
    let value = value.unwrap_or_else(|error| panic!("{error}"));
    match kind {
        0 => Changes::Text(TextState::parse(&crate::text::json(input)).unwrap_or_default()),
        1 => Changes::Count(i64::from(input.byte()) - 128),
        2 => Changes::Set(SetChange::Add(value)),
        3 => Changes::Set(SetChange::Remove(value)),
        4 => Changes::Set(SetChange::Clear),
        5 => {
            let members = operation_of("richtext", "format", value.as_str()).join(",");
            let operation = JsonText::parse(&format!("{{{members}}}"));
            Changes::Format(operation.unwrap_or_else(|error| panic!("{error}")))
        }
        _ => {
            let field = FieldName::new(["x", "y", "z"][usize::from(input.below(3))]);
            let field = field.unwrap_or_else(|rule| panic!("{rule}"));
            vec![(field, Change::from_json(value))].into()
        }
    }
}

/// The frames in which a client sends another one in pieces.
pub(super) fn pieces(input: &mut Input<'_>, frame: &[u8], serial: u64) -> Vec<Vec<u8>> {
    let total = usize::from(input.below(3)) + 1;
    let pieces = frame.chunks(frame.len().div_ceil(total).max(1)).enumerate();
    let total = pieces.len();
    let text = |(index, piece): (usize, &[u8])| {
        let data = base64(piece);
        format!(
            "{{\"type\":\"delta_batch_chunk\",\"chunkId\":\"p{serial}\",\
             \"totalChunks\":{total},\"chunkIndex\":{index},\"data\":\"{data}\"}}"
        )
    };
    pieces.map(|piece| text(piece).into_bytes()).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| usize::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * place) & 63];
            out.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// A client that writes, or is present, at another node and maybe here.
pub(super) fn foreign_client(input: &mut Input<'_>) -> ClientId {
    let name = input.pick(&["ann", "bob", "eve"]);
    ClientId::new(name).unwrap_or_else(|rule| panic!("{rule}"))
}
