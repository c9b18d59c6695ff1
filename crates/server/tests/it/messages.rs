//! What clients send and get: edits, states, and the WebSocket frames around them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

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

pub(crate) fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_millis()).expect("milliseconds fit")
}

pub(crate) fn tombstone() -> Value {
    json!({ "__deleted": true })
}

/// A whole message as clients must send it; a mask of zeros leaves the bytes as they are.
pub(crate) fn masked_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match u16::try_from(payload.len()) {
        Ok(short @ 0..=125) => frame.push(0x80 | short.to_be_bytes()[1]),
        Ok(medium) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Takes the next whole frame out of what arrived: its opcode and payload.
pub(crate) fn next_frame(buffer: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let [first, second, rest @ ..] = buffer.as_slice() else { return None };
    let (extended, short) = (rest, usize::from(*second));
    let (header, length) = match short {
        0..=125 => (2, short),
        126 => (4, usize::from(u16::from_be_bytes(extended.get(..2)?.try_into().ok()?))),
        127 => {
            let length = u64::from_be_bytes(extended.get(..8)?.try_into().ok()?);
            (10, usize::try_from(length).expect("a length fits"))
        }
        _ => panic!("the server masked a frame"),
    };
    assert_eq!(first & 0xF0, 0x80, "the server sends whole messages");
    let opcode = first & 0x0F;
    let payload = buffer.get(header..header + length)?.to_vec();
    buffer.drain(..header + length);
    Some((opcode, payload))
}
