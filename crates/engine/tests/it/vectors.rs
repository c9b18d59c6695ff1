//! The golden vectors of the protocol, all of them.

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

/// What the decoder must have read, made from what the file says was read.
fn expected(decoded: &Object<'_>) -> Incoming {
    let message = match decoded.text("type").as_str() {
        "auth" => ClientMessage::Auth { token: decoded.get("token") },
        "subscribe" => ClientMessage::Subscribe(decoded.document()),
        "unsubscribe" => ClientMessage::Unsubscribe(decoded.document()),
        "sync_request" => ClientMessage::SyncRequest(decoded.document()),
        "sync_step1" => ClientMessage::SyncStep1(decoded.document()),
        "delta" => edit(decoded, vec![operation(decoded)]),
        "delta_batch" => {
            let deltas: Vec<&RawValue> = decoded.get("deltas").unwrap();
            edit(decoded, deltas.into_iter().map(batch_operation).collect())
        }
        "delta_batch_chunk" => ClientMessage::Chunk(Chunk {
            frame: decoded.text("chunkId"),
            total: decoded.get("totalChunks").unwrap(),
            index: decoded.get("chunkIndex").unwrap(),
            data: from_base64(&decoded.text("data")),
        }),
        "awareness_subscribe" => ClientMessage::AwarenessSubscribe(decoded.document()),
        "awareness_update" => ClientMessage::AwarenessUpdate {
            document: decoded.document(),
            client: ClientId::new(&decoded.text("clientId")).unwrap(),
            state: Some(decoded.json("state")).filter(|state| *state != JsonText::null()),
            clock: decoded.get("clock").unwrap(),
        },
        "ack" => ClientMessage::Ack,
        "ping" => ClientMessage::Ping,
        "pong" => ClientMessage::Pong,
        "connect" => ClientMessage::Connect,
        other => panic!("no rule for messages of type {other:?}"),
    };
    Incoming { id: decoded.get("id"), timestamp: decoded.get("timestamp"), message }
}

fn edit(decoded: &Object<'_>, operations: Vec<Operation>) -> ClientMessage {
    let message_id = decoded.get("messageId").or_else(|| decoded.get("id"));
    ClientMessage::Edit(Edit { document: decoded.document(), message_id, operations })
}

fn operation(members: &Object<'_>) -> Operation {
    let changes: Vec<(String, Change)> = match members.get::<Object<'_>>("delta") {
        Some(fields) => {
            let fields = fields.0.into_iter();
            fields.map(|(name, raw)| (name, Change::from_json(json(raw)))).collect()
        }
        None => vec![(members.text("field"), Change::from_json(members.json("value")))],
    };
    let changes =
        changes.into_iter().map(|(name, change)| (FieldName::new(&name).unwrap(), change));
    let (client, number) = author(members);
    Operation {
        client,
        number,
        timestamp: members.get("timestamp"),
        changes: Changes::Fields(changes.collect()),
    }
}

fn author(members: &Object<'_>) -> (Option<ClientId>, Option<EditNumber>) {
    let client = members.get::<String>("clientId");
    let clock = members.get("clock").or_else(|| members.get("vectorClock"));
    let clock: BTreeMap<String, EditNumber> = clock.unwrap_or_default();
    let number = client.as_ref().and_then(|client| clock.get(client)).copied();
    (client.map(|client| ClientId::new(&client).unwrap()), number)
}

fn batch_operation(raw: &RawValue) -> Operation {
    let members: Object<'_> = serde_json::from_str(raw.get()).unwrap();
    if members.text("type") == "set" && members.raw("field").is_some() {
        return operation(&members);
    }
    let (client, number) = author(&members);
    Operation {
        client,
        number,
        timestamp: members.get("timestamp"),
        changes: other_changes(raw, &members),
    }
}

fn other_changes(raw: &RawValue, members: &Object<'_>) -> Changes {
    let amount = || members.get::<i64>("value").unwrap();
    let operation: Option<String> = members.get("operation");
    match (members.text("type").as_str(), operation.as_deref()) {
        ("text-state", None) => Changes::Text(TextState::parse(&members.text("state")).unwrap()),
        ("counter", Some("increment")) => Changes::Count(amount()),
        ("counter", Some("decrement")) => Changes::Count(-amount()),
        ("set", Some("add")) => Changes::Set(SetChange::Add(members.json("value"))),
        ("set", Some("remove")) => Changes::Set(SetChange::Remove(members.json("value"))),
        ("set", Some("clear")) => Changes::Set(SetChange::Clear),
        ("richtext", Some("format")) => Changes::Format(json(raw)),
        other => panic!("no rule for operations of type {other:?}"),
    }
}

/// The file tells one time for a delta; the decoder keeps that of the write apart from that of
/// the message, which stands in where the write has none.
fn with_one_time(mut incoming: Incoming) -> Incoming {
    if let ClientMessage::Edit(edit) = &mut incoming.message {
        for operation in &mut edit.operations {
            operation.timestamp = operation.timestamp.or(incoming.timestamp);
        }
    }
    incoming
}

/// Frames that the reference server refuses and the protocol recommends to read.
const READ_ALTHOUGH_REFUSED_ELSEWHERE: [(&str, Option<&str>, Option<u64>); 2] = [
    ("invalid_json_no_id", None, Some(1_700_000_000_000)),
    ("invalid_json_zero_timestamp", Some("a"), None),
];

fn check_refused(frame: &Frame<'_>) {
    let name = frame.name.as_str();
    let received = frame.receive();
    if let Some((_, id, timestamp)) =
        READ_ALTHOUGH_REFUSED_ELSEWHERE.iter().find(|(read, ..)| *read == name)
    {
        let id = id.map(str::to_owned);
        let ping = Incoming { id, timestamp: *timestamp, message: ClientMessage::Ping };
        return assert_eq!(received, Ok(ping), "{name}");
    }
    let error = received.expect_err(name);
    let text = error.text.unwrap_or_else(|| error.code.text());
    if name == "foreign_go_python_delta_batch_0x22" {
        assert_eq!(error.code, ErrorCode::InvalidDocumentId, "{name}");
        assert_eq!(error.reason.as_deref(), Some("\"documentId\" is missing"), "{name}");
    } else {
        assert_eq!(text, "Invalid message format", "{name}");
    }
}

fn message_of_server(message_type: &str, payload: &Object<'_>) -> ServerMessage {
    match message_type {
        "auth_success" => {
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct Lists {
                can_read: Vec<String>,
                can_write: Vec<String>,
                is_admin: bool,
            }
            let Lists { can_read, can_write, is_admin } = payload.get("permissions").unwrap();
            let permissions = Permissions { can_read, can_write, is_admin };
            ServerMessage::AuthSuccess { user: payload.text("userId"), permissions }
        }
        "auth_error" => ServerMessage::AuthError(payload.text("error")),
        "sync_response" => ServerMessage::SyncResponse {
            request_id: payload.text("requestId"),
            document: payload.document(),
            state: payload.json("state"),
            clock: payload.json("clock"),
            text: payload
                .raw("textState")
                .map(|state| (json(state), payload.get("textClock").unwrap())),
        },
        "delta" => ServerMessage::Delta {
            document: payload.document(),
            field: FieldName::new(&payload.text("field")).unwrap(),
            value: Change::from_json(payload.json("value")),
            clock: payload.json("clock"),
        },
        "delta_batch" => ServerMessage::DeltaBatch {
            document: payload.document(),
            operations: payload
                .get::<Vec<&RawValue>>("deltas")
                .unwrap()
                .into_iter()
                .map(json)
                .collect(),
            text: payload.get("isTextOperation").unwrap_or(false),
        },
        "ack" => ServerMessage::Ack { message_id: payload.text("messageId") },
        "pong" => ServerMessage::Pong,
        "awareness_state" => ServerMessage::AwarenessState {
            document: payload.document(),
            states: payload
                .get::<Vec<Object<'_>>>("states")
                .unwrap()
                .iter()
                .map(awareness_of)
                .collect(),
        },
        "awareness_update" => {
            let ClientAwareness { client, state, clock } = awareness_of(payload);
            let state = Some(state).filter(|state| *state != JsonText::null());
            ServerMessage::AwarenessUpdate { document: payload.document(), client, state, clock }
        }
        "sync_step2" => ServerMessage::SyncStep2(payload.document()),
        "error" => ServerMessage::Error(error_of_server(payload)),
        other => panic!("no rule for messages of type {other:?}"),
    }
}

fn awareness_of(members: &Object<'_>) -> ClientAwareness {
    ClientAwareness {
        client: ClientId::new(&members.text("clientId")).unwrap(),
        state: members.json("state"),
        clock: members.get("clock").unwrap(),
    }
}

fn error_of_server(payload: &Object<'_>) -> ErrorReply {
    let text = payload.text("error");
    let mut error = match ErrorCode::ALL.into_iter().find(|code| code.text() == text) {
        Some(code) => ErrorReply::new(code),
        None => ErrorReply::new(ErrorCode::AuthRequired).text(text.leak()),
    };
    if let Some(details) = payload.get::<Object<'_>>("details") {
        error.document = details.get("documentId");
        if let Some(code) = details.get::<String>("code") {
            assert_eq!(code, error.code.as_str());
        }
    }
    error
}

/// The bytes without `details.code`, which only this server always sends.
fn without_code(encoded: &[u8], framing: Framing, code: ErrorCode) -> Vec<u8> {
    let start = if framing == Framing::Binary { HEADER_BYTES } else { 0 };
    let member = format!("\"code\":\"{}\"", code.as_str());
    let payload = String::from_utf8(encoded[start..].to_vec()).unwrap();
    let payload = payload
        .replace(&format!(",\"details\":{{{member}}}"), "")
        .replace(&format!("{member},"), "");
    let mut out = encoded[..start].to_vec();
    if framing == Framing::Binary {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        out[HEADER_BYTES - 4..].copy_from_slice(&length);
    }
    out.extend_from_slice(payload.as_bytes());
    out
}

fn check_sent(frame: &Frame<'_>, now: u64) {
    let decoded = frame.decoded.as_ref().unwrap();
    // Some entries tell a message's members apart in `payload`, some not.
    let payload = decoded.get::<Object<'_>>("payload");
    let message = message_of_server(&decoded.text("type"), payload.as_ref().unwrap_or(decoded));
    let framing = if frame.framing == "binary" { Framing::Binary } else { Framing::Json };
    let serial = u64::from_str_radix("abcdefghi", 36).unwrap();
    let mut bytes = Vec::new();
    encode(&message, framing, Outgoing { now, serial }, &mut bytes);
    let golden = frame.bytes();
    let says_code = String::from_utf8_lossy(&golden).contains("\"code\":");
    if let (ServerMessage::Error(error), false) = (&message, says_code) {
        bytes = without_code(&bytes, framing, error.code);
    }
    let [ours, theirs] = [&bytes, &golden].map(|bytes| String::from_utf8_lossy(bytes));
    assert_eq!(ours, theirs, "{}", frame.name);
    assert_eq!(bytes, golden, "{}", frame.name);
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

fn from_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = ALPHABET.iter().position(|letter| *letter == byte).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from(bits >> held & 0xFF).unwrap());
        }
    }
    out
}

#[derive(Debug, Deserialize)]
struct Ordering {
    name: String,
    existing: Option<(u64, u64, String)>,
    #[serde(default)]
    existing_is_tombstone: bool,
    incoming: (u64, u64, String),
    winner: String,
}

fn key_of((timestamp, number, client): &(u64, u64, String)) -> WriteKey {
    WriteKey {
        timestamp: *timestamp,
        number: EditNumber(*number),
        client: ClientId::new(client).unwrap(),
    }
}

fn value(text: &str) -> Change {
    Change::Set(JsonText::parse(text).unwrap())
}

#[test]
fn the_newer_key_wins_as_in_the_golden_cases() {
    let cases = vectors().lww;
    assert_eq!(cases.len(), 8);
    let field = FieldName::new("x").unwrap();
    for case in cases {
        let mut document = Document::new();
        let existing = if case.existing_is_tombstone { Change::Delete } else { value("\"old\"") };
        if let Some(key) = &case.existing {
            document.apply_change(&field, &existing, &key_of(key));
        }
        let outcome = document.apply_change(&field, &value("\"new\""), &key_of(&case.incoming));
        let won = case.winner == "incoming";
        assert_eq!(outcome == Outcome::Won, won, "{}: {outcome:?}", case.name);
        let expected = if won { value("\"new\"") } else { existing };
        assert_eq!(document.field("x").unwrap().value, expected, "{}", case.name);
    }
}

#[derive(Debug, Deserialize)]
struct StampSequence {
    name: String,
    steps: Vec<StampStep>,
}

#[derive(Debug, Deserialize)]
struct StampStep {
    field: String,
    value: String,
    timestamp: u64,
    s: u64,
    client: String,
    won: bool,
    document_stamp_after: u64,
    broadcast_value: String,
}

#[test]
fn the_document_stamp_moves_as_in_the_golden_sequences() {
    let cases = vectors().document_stamp;
    assert_eq!(cases.len(), 4);
    for StampSequence { name, steps } in cases {
        let mut document = Document::new();
        for (at, step) in steps.iter().enumerate() {
            let client = ClientId::new(&step.client).unwrap();
            let written = value(&format!("{:?}", step.value));
            let delta = Delta {
                id: DeltaId::new(&format!("{name}-{at}")),
                number: EditNumber(step.s),
                client,
                timestamp: step.timestamp,
                changes: vec![(FieldName::new(&step.field).unwrap(), written.clone())].into(),
            };
            let held_before = document.field(&step.field).cloned();
            document.apply(&delta);
            let held = document.field(&step.field).unwrap();
            let won = held_before.as_ref() != Some(held);
            assert_eq!(won, step.won, "{name}, step {at}");
            assert_eq!(document.stamp(), step.document_stamp_after, "{name}, step {at}");
            let sent = value(&format!("{:?}", step.broadcast_value));
            assert_eq!(held.value, sent, "{name}, step {at}");
        }
    }
}
