//! The golden frames of the protocol: those of clients are written as they are there, those of the
//! server are read as what they say.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use synckit_client::connection::Message;
use synckit_client::framing::{BinaryFrame, MessageType, write_header};
use synckit_client::message::{
    Change, Chunk, ClientMessage, Clock, Count, Json, Operation, ServerMessage, decode, json as raw,
};

#[derive(Deserialize)]
struct Vectors {
    frames: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    name: String,
    framing: String,
    direction: String,
    hex: Option<String>,
    text: Option<String>,
    decoded: Option<Value>,
}

impl Golden {
    fn bytes(&self) -> Vec<u8> {
        let hex = self.hex.as_deref().expect("a binary frame has bytes");
        let pairs = (0..hex.len()).step_by(2);
        pairs.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn is_binary(&self) -> bool {
        self.framing == "binary"
    }
}

fn vectors(direction: &str) -> impl Iterator<Item = Golden> {
    let file = include_str!("../../../engine/tests/vectors.json");
    let vectors: Vectors = serde_json::from_str(file).unwrap();
    vectors.frames.into_iter().filter(move |golden| golden.direction == direction)
}

/// Messages that the server ignores or that are for servers to refuse, which this client never says.
fn is_never_said(golden: &Golden) -> bool {
    let kind = golden.decoded.as_ref().map(|decoded| decoded["type"].as_str().unwrap_or_default());
    matches!(kind, None | Some("ack" | "pong" | "connect"))
}

#[test]
fn frames_of_clients_are_written_as_they_are_there() {
    let mut written = 0;
    for golden in vectors("c2s").filter(|golden| !is_never_said(golden)) {
        let decoded = golden.decoded.as_ref().unwrap();
        let message = said(decoded);
        let id = decoded["id"].as_str();
        if golden.is_binary() {
            let theirs = golden.bytes();
            let frame = BinaryFrame::parse(&theirs).unwrap();
            assert_eq!(message.message_type().code(), frame.code, "{}", golden.name);
            let ours = message.payload(id).unwrap();
            let mut header = Vec::new();
            let time = u64::try_from(frame.time).unwrap();
            write_header(&mut header, frame.code, time, frame.payload.len());
            assert_eq!(header, theirs[..header.len()], "{}", golden.name);
            assert_eq!(
                plain(&ours, Some(time)),
                plain(frame.payload, Some(time)),
                "{}",
                golden.name
            );
        } else {
            let theirs = golden.text.as_deref().unwrap().as_bytes();
            let ours = message.text(decoded["timestamp"].as_u64().unwrap(), id).unwrap();
            assert_eq!(plain(ours.as_bytes(), None), plain(theirs, None), "{}", golden.name);
        }
        written += 1;
    }
    assert_eq!(written, 36, "all but those that are never said");
}

/// The message that a program makes to say this.
fn said(decoded: &Value) -> ClientMessage {
    let text = |name: &str| decoded[name].as_str().map(str::to_owned);
    let document_id = text("documentId").unwrap_or_default();
    let message_id = text("messageId");
    match decoded["type"].as_str().unwrap() {
        "auth" => ClientMessage::Auth { token: text("token") },
        "subscribe" => ClientMessage::Subscribe { document_id },
        "unsubscribe" => ClientMessage::Unsubscribe { document_id },
        "sync_request" => ClientMessage::SyncRequest { document_id, clock: clock(decoded) },
        "sync_step1" => ClientMessage::SyncStep1 { document_id },
        "delta" => ClientMessage::Delta { document_id, operation: operation(decoded), message_id },
        "delta_batch" => {
            let deltas = decoded["deltas"].as_array().unwrap().iter().map(operation).collect();
            ClientMessage::DeltaBatch { document_id, deltas, message_id }
        }
        "delta_batch_chunk" => {
            let number = |name: &str| u32::try_from(decoded[name].as_u64().unwrap()).unwrap();
            ClientMessage::DeltaBatchChunk(Chunk {
                chunk_id: text("chunkId").unwrap(),
                total_chunks: number("totalChunks"),
                chunk_index: number("chunkIndex"),
                data: from_base64(&text("data").unwrap()),
            })
        }
        "ping" => ClientMessage::Ping {},
        "awareness_update" => ClientMessage::AwarenessUpdate {
            document_id,
            client_id: text("clientId").unwrap(),
            state: Some(&decoded["state"]).filter(|state| !state.is_null()).map(json_of),
            clock: decoded["clock"].as_u64().unwrap(),
        },
        "awareness_subscribe" => ClientMessage::AwarenessSubscribe { document_id },
        other => panic!("no rule for messages of type {other:?}"),
    }
}

fn operation(members: &Value) -> Operation {
    let text = |name: &str| members[name].as_str().map(str::to_owned);
    let value = || json_of(&members["value"]);
    let change = match (members["type"].as_str().unwrap(), members["operation"].as_str()) {
        ("delta" | "set", None) => match members["delta"].as_object() {
            Some(fields) => Change::Fields(
                fields.iter().map(|(name, value)| (name.clone(), json_of(value))).collect(),
            ),
            None => Change::Field { field: text("field").unwrap(), value: value() },
        },
        ("set", Some("add")) => Change::Add(value()),
        ("set", Some("remove")) => Change::Remove(value()),
        ("set", Some("clear")) => Change::Clear,
        ("text-state", _) => Change::Text(text("state").unwrap()),
        ("counter", Some(way)) => Change::Counter {
            operation: if way == "increment" { Count::Increment } else { Count::Decrement },
            value: members["value"].as_i64().unwrap(),
        },
        _ => {
            let own = ["clientId", "clock", "timestamp", "documentId"];
            let members = members.as_object().unwrap().iter();
            let others = members.filter(|(name, _)| !own.contains(&name.as_str()));
            Change::Other(others.map(|(name, value)| (name.clone(), json_of(value))).collect())
        }
    };
    Operation {
        client_id: text("clientId"),
        clock: clock(members),
        timestamp: members["timestamp"].as_u64(),
        change,
    }
}

fn clock(members: &Value) -> Clock {
    let clock = members.get("clock").or_else(|| members.get("vectorClock"));
    clock.map(|clock| serde_json::from_value(clock.clone()).unwrap()).unwrap_or_default()
}

fn json_of(value: &Value) -> Json {
    raw(value).unwrap()
}

fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let groups = text.trim_end_matches('=').as_bytes().chunks(4);
    let bytes = groups.flat_map(|group| {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 6 | u32::from(digit(*byte)));
        let bits = bits << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..group.len()].to_vec()
    });
    bytes.collect()
}

/// What a server makes of a message of a client: without the freedom that the page leaves.
fn plain(message: &[u8], header_time: Option<u64>) -> Value {
    let mut message: Value = serde_json::from_slice(message).unwrap();
    let members = message.as_object_mut().unwrap();
    if let Some(Value::Object(payload)) = members.remove("payload") {
        members.extend(payload.into_iter().filter(|(name, _)| name != "type"));
    }
    // Members that no server looks at.
    members.remove("stateVector");
    // The time of the header again.
    if header_time.is_some_and(|time| members.get("timestamp") == Some(&json!(time))) {
        members.remove("timestamp");
    }
    let is_json_delta = members.get("type") == Some(&json!("delta"));
    let document = members.get("documentId").cloned();
    plain_operation(members);
    for operation in members.get_mut("deltas").and_then(Value::as_array_mut).into_iter().flatten() {
        let operation = operation.as_object_mut().unwrap();
        plain_operation(operation);
        if operation.get("documentId") == document.as_ref() {
            operation.remove("documentId");
        }
    }
    if is_json_delta {
        message["type"] = json!("delta");
    }
    message
}

/// A field write needs no type, and `vectorClock` is another name; an empty clock says nothing.
fn plain_operation(members: &mut Map<String, Value>) {
    let is_field_write = members.contains_key("field") || members.contains_key("delta");
    if is_field_write {
        members.remove("type");
    }
    if let Some(clock) = members.remove("vectorClock") {
        members.insert("clock".to_owned(), clock);
    }
    if members.get("clock") == Some(&json!({})) {
        members.remove("clock");
    }
}

#[test]
fn frames_of_the_server_are_read_as_what_they_say() {
    let mut read = 0;
    for golden in vectors("s2c") {
        let decoded = golden.decoded.as_ref().unwrap();
        let bytes = if golden.is_binary() { golden.bytes() } else { Vec::new() };
        let message = match golden.text.as_deref() {
            Some(text) => Message::Text(text),
            None => Message::Binary(&bytes),
        };
        let received = decode(message).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
        assert_eq!(json!(received.time), decoded["timestamp"], "{}", golden.name);
        let mut wanted = decoded.get("payload").unwrap_or(decoded).clone();
        wanted["type"] = decoded["type"].clone();
        let members = wanted.as_object_mut().unwrap();
        // The server always says the same here, so nobody looks.
        for name in ["id", "timestamp", "isTextOperation"] {
            members.remove(name);
        }
        let message = received.message.unwrap_or_else(|| panic!("{} is unknown", golden.name));
        assert_eq!(said_by_server(message), wanted, "{}", golden.name);
        read += 1;
    }
    assert!(read > 20, "{read} frames");
}

#[test]
fn a_message_of_a_type_that_is_not_known_is_passed_over() {
    let unknown = decode(Message::Text(r#"{"type":"later","timestamp":5}"#)).unwrap();
    assert_eq!((unknown.time, unknown.message.is_none()), (5, true));
    assert_eq!(MessageType::from_code(0x77), None);
}

/// What was read, as the members of the protocol again.
fn said_by_server(message: ServerMessage) -> Value {
    match message {
        ServerMessage::AuthSuccess(it) => json!({ "type": "auth_success", "userId": it.user_id,
            "permissions": { "canRead": it.permissions.can_read,
                "canWrite": it.permissions.can_write, "isAdmin": it.permissions.is_admin } }),
        ServerMessage::AuthError(it) => json!({ "type": "auth_error", "error": it.error }),
        ServerMessage::SyncResponse(it) => {
            let mut message = json!({ "type": "sync_response", "requestId": it.request_id,
                "documentId": it.document_id, "state": it.state, "deltas": [], "clock": it.clock });
            if let Some(text) = it.text_state {
                message["textState"] = json!(text);
                message["textClock"] = json!(it.text_clock);
            }
            message
        }
        ServerMessage::SyncStep2(it) => {
            json!({ "type": "sync_step2", "documentId": it.document_id, "operations": [] })
        }
        ServerMessage::Delta(it) => json!({ "type": "delta", "documentId": it.document_id,
            "field": it.field, "value": it.value, "clock": it.clock, "clientId": "server" }),
        ServerMessage::DeltaBatch(it) => {
            let mut deltas = serde_json::to_value(&it.deltas).unwrap();
            for delta in deltas.as_array_mut().unwrap() {
                delta["documentId"] = json!(it.document_id);
            }
            json!({ "type": "delta_batch", "documentId": it.document_id, "deltas": deltas })
        }
        ServerMessage::Ack(it) => json!({ "type": "ack", "messageId": it.message_id }),
        ServerMessage::Pong => json!({ "type": "pong" }),
        ServerMessage::AwarenessUpdate(it) => json!({ "type": "awareness_update",
            "documentId": it.document_id, "clientId": it.client_id, "state": it.state,
            "clock": it.clock }),
        ServerMessage::AwarenessState(it) => {
            let entry = |it: &synckit_client::message::AwarenessEntry| {
                json!({
                "clientId": it.client_id, "state": it.state, "clock": it.clock })
            };
            let states: Vec<Value> = it.states.iter().map(entry).collect();
            json!({ "type": "awareness_state", "documentId": it.document_id, "states": states })
        }
        ServerMessage::Error(it) => {
            let mut message = json!({ "type": "error", "error": it.error });
            let details = it.details;
            let members = [
                ("code", Some(details.code).filter(|code| !code.is_empty())),
                ("reason", details.reason),
                ("documentId", details.document_id),
                ("messageId", details.message_id),
            ];
            let members = members.into_iter().filter_map(|(name, text)| Some((name, text?)));
            let details: BTreeMap<_, _> = members.collect();
            if !details.is_empty() {
                message["details"] = json!(details);
            }
            message
        }
    }
}
