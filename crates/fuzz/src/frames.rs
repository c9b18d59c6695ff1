//! What a client sends, and what it is sent.

use serde_json::value::RawValue;
use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Changes, Delta, SetChange, WriteKey};
use synckit_engine::ids::ClientId;
use synckit_engine::json::nests_too_deep;
use synckit_engine::limits::{
    AWARENESS_STATE_BYTES_MAX, BATCH_OPERATIONS_MAX, COUNT_MAX, DELTA_FIELDS_MAX, EDIT_NUMBER_MAX,
    MESSAGE_ID_BYTES_MAX, VALUE_BYTES_MAX,
};
use synckit_engine::wire::frame::{BinaryFrame, HEADER_BYTES};
use synckit_engine::wire::{
    ClientMessage, Edit, Framing, Incoming, MessageType, Outgoing, ServerMessage, decode, encode,
};

const ABOUT: Outgoing = Outgoing { now: 1_700_000_000_000, serial: 36 };

/// What the server puts behind a value it sends; no client may speak under that name.
const SENT_BY_SERVER: &str = r#","clientId":"server"}"#;

const SERVER: &str = r#""clientId":"server""#;
const ANY_CLIENT: &str = r#""clientId":"ann""#;

/// A frame of the binary framing.
pub fn binary_frame(bytes: &[u8]) {
    frame(Framing::Binary, bytes);
}

/// A frame of the JSON framing.
pub fn json_frame(bytes: &[u8]) {
    frame(Framing::Json, bytes);
}

fn frame(framing: Framing, bytes: &[u8]) {
    match decode(framing, bytes) {
        Ok(incoming) => {
            limits_hold(&incoming);
            if let ClientMessage::Edit(edit) = &incoming.message {
                stored_data_reads_back(edit);
            }
            if framing == Framing::Binary {
                what_follows_the_payload_is_ignored(bytes, &incoming);
            }
        }
        Err(error) => message_can_be_read(&ServerMessage::Error(*error)),
    }
}

fn limits_hold(incoming: &Incoming) {
    let fits = |id: &Option<String>| id.as_ref().is_none_or(|id| id.len() <= MESSAGE_ID_BYTES_MAX);
    assert!(fits(&incoming.id), "the id is too long");
    match &incoming.message {
        ClientMessage::Edit(edit) => {
            assert!(fits(&edit.message_id), "the message id is too long");
            let operations = edit.operations.len();
            assert!((1..=BATCH_OPERATIONS_MAX).contains(&operations), "{operations} operations");
            for operation in &edit.operations {
                assert!(
                    operation.number.is_none_or(|number| (1..=EDIT_NUMBER_MAX).contains(&number.0))
                );
                operation_is_within_limits(&operation.changes);
            }
        }
        ClientMessage::AwarenessUpdate { state, clock, .. } => {
            assert!(*clock <= EDIT_NUMBER_MAX);
            if let Some(state) = state {
                assert!(state.as_str().len() <= AWARENESS_STATE_BYTES_MAX);
                assert!(!nests_too_deep(state.as_str().as_bytes()));
            }
        }
        _ => {}
    }
}

/// A new kind of operation joins here.
fn operation_is_within_limits(changes: &Changes) {
    match changes {
        Changes::Fields(fields) => {
            assert!((1..=DELTA_FIELDS_MAX).contains(&fields.len()));
            for (at, (field, change)) in fields.iter().enumerate() {
                value_is_within_limits(change.as_json());
                let is_twice = fields[..at].iter().any(|(earlier, _)| earlier == field);
                assert!(!is_twice, "field {field} is there twice");
            }
        }
        // The target for texts looks into them.
        Changes::Text(_) | Changes::Set(SetChange::Clear) => {}
        Changes::Count(amount) => assert!((-COUNT_MAX..=COUNT_MAX).contains(amount)),
        Changes::Set(SetChange::Add(value) | SetChange::Remove(value)) | Changes::Format(value) => {
            value_is_within_limits(value.as_str());
        }
    }
}

fn value_is_within_limits(json: &str) {
    assert!(json.len() <= VALUE_BYTES_MAX);
    assert!(!nests_too_deep(json.as_bytes()));
}

fn stored_data_reads_back(edit: &Edit) {
    for operation in &edit.operations {
        data_reads_back(operation.changes.clone());
    }
}

/// Writes changes as they are stored, and reads them again.
pub(crate) fn data_reads_back(changes: Changes) {
    let client = ClientId::new("c").unwrap_or_else(|rule| panic!("{rule}"));
    let key = WriteKey { timestamp: 1, number: EditNumber(1), client };
    let delta = Delta::of(&key, changes);
    let again = Delta::parse_data(&delta.data());
    assert_eq!(again.unwrap_or_else(|error| panic!("{error}")), delta.changes);
}

fn what_follows_the_payload_is_ignored(bytes: &[u8], incoming: &Incoming) {
    let longer = [bytes, b"}\xFF"].concat();
    assert_eq!(decode(Framing::Binary, &longer).as_ref(), Ok(incoming));
}

/// Writes a message to a client in both framings and reads it as a client would.
pub(crate) fn message_can_be_read(message: &ServerMessage) {
    let mut binary = Vec::new();
    encode(message, Framing::Binary, ABOUT, &mut binary);
    let frame = BinaryFrame::parse(&binary).unwrap_or_else(|wrong| panic!("{wrong}: {message:?}"));
    assert_eq!(HEADER_BYTES + frame.payload.len(), binary.len(), "{message:?}");
    object_of(frame.payload, message);
    let mut json = Vec::new();
    encode(message, Framing::Json, ABOUT, &mut json);
    let text = object_of(&json, message);
    let head = format!("\"type\":\"{}\"", frame.message_type.name());
    assert!(text.contains(&head), "{text}");
    clients_may_send_it_back(message, text);
}

fn object_of<'a>(bytes: &'a [u8], message: &ServerMessage) -> &'a str {
    let raw: &RawValue = serde_json::from_slice(bytes)
        .unwrap_or_else(|error| panic!("{error}: {message:?} is written as {bytes:?}"));
    assert!(raw.get().starts_with('{'), "{message:?}");
    raw.get()
}

/// Types that go both ways read the same in both directions.
fn clients_may_send_it_back(message: &ServerMessage, text: &str) {
    let text =
        text.strip_suffix(SENT_BY_SERVER).map_or(text.to_owned(), |text| format!("{text}}}"));
    let text = match message {
        ServerMessage::DeltaBatch { .. } => text.replace(SERVER, ANY_CLIENT),
        _ => text,
    };
    let decoded = decode(Framing::Json, text.as_bytes()).map(|incoming| incoming.message);
    match (message, decoded) {
        (ServerMessage::Pong, decoded) => assert_eq!(decoded, Ok(ClientMessage::Pong)),
        (ServerMessage::Ack { .. }, decoded) => assert_eq!(decoded, Ok(ClientMessage::Ack)),
        (ServerMessage::Delta { document, field, value, .. }, Ok(ClientMessage::Edit(edit))) => {
            assert_eq!(*document, edit.document);
            let [operation] = edit.operations.as_slice() else { panic!("{edit:?}") };
            let changes = vec![(field.clone(), value.clone())];
            assert_eq!(operation.changes, Changes::Fields(changes));
        }
        (ServerMessage::DeltaBatch { operations, .. }, Ok(ClientMessage::Edit(edit))) => {
            assert_eq!(operations.len(), edit.operations.len());
        }
        (
            ServerMessage::AwarenessUpdate { document, client, state, clock },
            Ok(ClientMessage::AwarenessUpdate { document: d, client: c, state: s, clock: n }),
        ) => assert_eq!((document, client, state, clock), (&d, &c, &s, &n)),
        // Another node may have counted higher than a client can.
        (ServerMessage::AwarenessUpdate { clock, .. }, Err(_)) if *clock > EDIT_NUMBER_MAX => {}
        // Texts of clients that contradict each other may join to what no client could send.
        (ServerMessage::DeltaBatch { text: true, .. }, Err(_)) => {}
        (message, decoded) => {
            let is_one_way = MessageType::from_name(type_of(&text)).is_some_and(|kind| {
                matches!(
                    kind,
                    MessageType::AuthSuccess
                        | MessageType::AuthError
                        | MessageType::SyncResponse
                        | MessageType::SyncStep2
                        | MessageType::AwarenessState
                        | MessageType::Error
                )
            });
            assert!(is_one_way && decoded.is_err(), "{message:?} is read as {decoded:?}");
        }
    }
}

fn type_of(text: &str) -> &str {
    let (_, rest) = text.split_once("\"type\":\"").unwrap_or_default();
    rest.split('"').next().unwrap_or_default()
}
