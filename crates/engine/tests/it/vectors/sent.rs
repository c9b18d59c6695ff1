//! The golden frames of the server, and the messages of which they are made.

use super::*;

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

pub(super) fn check_sent(frame: &Frame<'_>, now: u64) {
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
