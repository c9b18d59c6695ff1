//! The golden vectors of the protocol, all of them.
//!
//! - [`received`]: frames that clients send; [`sent`]: frames that the server sends
//! - [`ordering`]: which write wins, and how the document stamp moves

mod ordering;
mod received;
mod sent;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Change, Changes, Delta, DeltaId, SetChange, WriteKey};
use synckit_engine::document::{Document, Outcome};
use synckit_engine::ids::{ClientId, DocumentId, FieldName};
use synckit_engine::json::JsonText;
use synckit_engine::text::TextState;
use synckit_engine::wire::frame::HEADER_BYTES;
use synckit_engine::wire::message::{Chunk, ClientAwareness, Permissions};
use synckit_engine::wire::{
    ClientMessage, Edit, ErrorCode, ErrorReply, FrameKind, Framing, Incoming, Operation, Outgoing,
    ServerMessage, decode, encode,
};

use ordering::{Ordering, StampSequence};
use received::{check_refused, expected, with_one_time};
use sent::check_sent;

/// Members of an object in their order, each with its text.
#[derive(Debug, Default)]
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> serde::de::Visitor<'de> for Members {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        from.deserialize_map(Members)
    }
}

impl<'a> Object<'a> {
    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, raw)| *raw)
    }

    fn get<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        self.raw(name).map(|raw| serde_json::from_str(raw.get()).unwrap())
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_else(|| panic!("{name:?} is missing"))
    }

    fn document(&self) -> DocumentId {
        DocumentId::new(&self.text("documentId")).unwrap()
    }

    fn json(&self, name: &str) -> JsonText {
        json(self.raw(name).unwrap_or_else(|| panic!("{name:?} is missing")))
    }
}

#[derive(Debug, Deserialize)]
struct Vectors<'a> {
    fixed_timestamp_ms: u64,
    #[serde(borrow)]
    frames: Vec<Frame<'a>>,
    lww: Vec<Ordering>,
    document_stamp: Vec<StampSequence>,
}

#[derive(Debug, Deserialize)]
struct Frame<'a> {
    name: String,
    framing: String,
    direction: String,
    hex: Option<String>,
    text: Option<String>,
    #[serde(borrow)]
    decoded: Option<Object<'a>>,
}

impl Frame<'_> {
    fn kind(&self) -> FrameKind {
        if self.framing == "json-text" { FrameKind::Text } else { FrameKind::Binary }
    }

    fn bytes(&self) -> Vec<u8> {
        match (&self.hex, &self.text) {
            (Some(hex), _) => from_hex(hex),
            (None, Some(text)) => text.clone().into_bytes(),
            (None, None) => panic!("{} has no bytes", self.name),
        }
    }

    fn receive(&self) -> Result<Incoming, Box<ErrorReply>> {
        let bytes = self.bytes();
        decode(Framing::of(self.kind(), &bytes), &bytes)
    }
}

fn file() -> &'static str {
    include_str!("../vectors.json")
}

fn vectors() -> Vectors<'static> {
    serde_json::from_str(file()).unwrap()
}

/// The bytes of every frame that clients send, with the kind of WebSocket message it comes in.
pub(crate) fn frames_of_clients() -> Vec<(FrameKind, Vec<u8>)> {
    let frames = vectors().frames.into_iter().filter(|frame| frame.direction == "c2s");
    frames.map(|frame| (frame.kind(), frame.bytes())).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The text of a value as programs send it: the file is indented, frames are not.
fn json(raw: &RawValue) -> JsonText {
    let (mut out, mut in_string, mut escaped) = (String::new(), false, false);
    for character in raw.get().chars() {
        if in_string || !character.is_ascii_whitespace() {
            out.push(character);
        }
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
    }
    JsonText::parse(&out).unwrap()
}

#[test]
fn every_golden_frame_is_read_refused_or_written_as_the_protocol_says() {
    let Vectors { frames, fixed_timestamp_ms, .. } = vectors();
    let (mut read, mut refused, mut written) = (0, 0, 0);
    for frame in &frames {
        match (frame.direction.as_str(), &frame.decoded) {
            ("c2s", Some(decoded)) => {
                let received = frame.receive().map(with_one_time);
                assert_eq!(received, Ok(with_one_time(expected(decoded))), "{}", frame.name);
                read += 1;
            }
            ("c2s", None) => {
                check_refused(frame);
                refused += 1;
            }
            ("s2c", Some(_)) => {
                check_sent(frame, fixed_timestamp_ms);
                written += 1;
            }
            other => panic!("{}: no rule for {other:?}", frame.name),
        }
    }
    assert_eq!(read + refused + written, 70, "read {read}, refused {refused}, written {written}");
    assert_eq!(file().matches("\"direction\":").count(), 70);
}

#[test]
fn the_golden_chunks_are_the_parts_of_one_frame() {
    // The decoder only hands chunks on; what they hold must still be a frame.
    let parts: Vec<Vec<u8>> = vectors()
        .frames
        .iter()
        .filter(|frame| frame.name.starts_with("chunk_"))
        .map(|frame| match frame.receive().unwrap().message {
            ClientMessage::Chunk(Chunk { total, data, .. }) => {
                assert_eq!(total, 2);
                data
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let message = decode(Framing::Binary, &parts.concat()).unwrap().message;
    assert!(matches!(message, ClientMessage::Edit(edit) if edit.operations.len() == 1));
}
