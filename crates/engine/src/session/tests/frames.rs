//! Frames, broken ones and those that only the server sends among them.

use super::*;

#[test]
fn answers_follow_the_framing_of_the_last_frame() {
    let mut it = anonymous();
    assert_eq!(it.session.framing(), Framing::Binary, "before the first frame");
    assert_eq!(it.hears(r#" {"type":"ping"}"#), pong());
    assert_eq!(it.session.framing(), Framing::Json);
    assert_eq!(it.hears_bytes(FrameKind::Binary, &binary(MessageType::Ping, "{}")), pong());
    assert_eq!(it.session.framing(), Framing::Binary);
    assert_eq!(it.hears_bytes(FrameKind::Binary, br#"{"type":"ping"}"#), pong());
    assert_eq!(it.session.framing(), Framing::Json);
    assert_eq!(it.hears("\u{feff}{\"type\":\"ping\"}"), pong());
    assert_eq!(it.hears_bytes(FrameKind::Binary, b"\x77").len(), 1);
    assert_eq!(it.session.framing(), Framing::Binary, "a broken frame has a framing too");
}

#[test]
fn a_broken_frame_is_answered_and_the_connection_stays() {
    let mut it = anonymous();
    for text in ["", "not json", "[]", r#"{"id":"a"}"#, r#"{"type":"unheard"}"#] {
        let effects = it.hears(text);
        refused_with(ErrorCode::InvalidMessage, &effects);
        assert_eq!(effects.len(), 1, "{text}");
        assert_eq!(the_error(&effects).code.text(), "Invalid message format");
    }
    assert_eq!(it.hears(r#"{"type":"ping"}"#), pong());
}

#[test]
fn only_broken_frames_in_a_row_close_the_connection() {
    let mut it = anonymous();
    for _ in 0..3 {
        for _ in 1..BROKEN_FRAMES_MAX {
            assert!(!closes(&it.hears("broken")));
        }
        assert_eq!(it.hears(r#"{"type":"ping"}"#), pong());
    }
    for _ in 1..BROKEN_FRAMES_MAX {
        assert!(!closes(&it.hears("broken")));
    }
    for _ in 0..BROKEN_FRAMES_MAX {
        assert!(!closes(&it.hears(&delta(r#","clientId":"server""#))), "read, and refused");
    }
    assert!(closes(&it.hears("broken")));
}

#[test]
fn messages_that_only_the_server_sends_are_refused() {
    for message_type in ["auth_success", "sync_response", "awareness_state", "error"] {
        let effects = anonymous().hears(&format!(r#"{{"type":"{message_type}"}}"#));
        refused_with(ErrorCode::InvalidMessage, &effects);
    }
}

#[test]
fn greetings_and_receipts_need_no_answer_and_a_goodbye_closes() {
    let mut it = unauthenticated();
    for text in [r#"{"type":"connect","clientId":"c"}"#, r#"{"type":"ack"}"#, r#"{"type":"pong"}"#]
    {
        assert_eq!(it.hears(text), []);
    }
    let goodbye = [Effect::Close { code: CloseCode::Normal, reason: "Goodbye" }];
    assert_eq!(it.hears(r#"{"type":"disconnect"}"#), goodbye);
}

#[test]
fn document_ids_are_checked_on_every_message_that_has_one() {
    for message_type in [
        "subscribe",
        "unsubscribe",
        "sync_request",
        "sync_step1",
        "delta",
        "delta_batch",
        "awareness_subscribe",
        "awareness_update",
    ] {
        let long = "x".repeat(257);
        for (id, text) in [
            ("\"\"", None),
            ("7", None),
            ("\"a b\"", Some("Document ID contains invalid characters")),
            (&*format!("{long:?}"), Some("Document ID too long")),
        ] {
            let message = format!(r#"{{"type":"{message_type}","documentId":{id}}}"#);
            let effects = anonymous().hears(&message);
            refused_with(ErrorCode::InvalidDocumentId, &effects);
            assert_eq!(the_error(&effects).text, text, "{message}");
        }
    }
}

#[test]
fn counts_that_clients_cannot_hold_are_refused() {
    let most = EDIT_NUMBER_MAX;
    let mut it = anonymous();
    let with = |count: &str| delta(&format!(r#","clientId":"ann","clock":{{"ann":{count}}}"#));
    assert_eq!(it.drafts_of(&with(&most.to_string()))[0].number, Some(EditNumber(most)));
    for count in [&*(most + 1).to_string(), "-1", "1.5", "1e3", "\"1\"", "null"] {
        refused_with(ErrorCode::InvalidClock, &it.hears(&with(count)));
    }
    // What another client counts is checked as well: it is echoed by none, but a client that
    // sends such a clock is broken.
    let other = delta(r#","clientId":"ann","clock":{"ann":1,"bob":-1}"#);
    refused_with(ErrorCode::InvalidClock, &it.hears(&other));
}
