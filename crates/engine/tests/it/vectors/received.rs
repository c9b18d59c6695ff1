//! What the decoder must make of the golden frames of clients.

use super::*;

/// What the decoder must have read, made from what the file says was read.
pub(super) fn expected(decoded: &Object<'_>) -> Incoming {
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
pub(super) fn with_one_time(mut incoming: Incoming) -> Incoming {
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

pub(super) fn check_refused(frame: &Frame<'_>) {
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
