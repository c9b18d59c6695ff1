//! What a session promises, one promise a test.
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod chunks;

use super::*;
use crate::clock::EditNumber;
use crate::delta::{Change, Changes};
use crate::ids::FieldName;
use crate::json::JsonText;
use crate::limits::{BATCH_OPERATIONS_MAX, EDIT_NUMBER_MAX};
use crate::wire::MessageType;

const NOW: Millis = 1_700_000_000_000;

/// A session with everything it did so far.
struct Subject {
    session: Session,
    now: Millis,
    effects: Vec<Effect>,
}

fn identity(can_read: &[&str], can_write: &[&str]) -> Identity {
    let owned = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
    let permissions =
        Permissions { can_read: owned(can_read), can_write: owned(can_write), is_admin: false };
    Identity { user: "ann".to_owned(), permissions }
}

fn session(identity: Option<Identity>, limits: Limits) -> Subject {
    let name = ClientId::new("node-7-conn-1").unwrap();
    let session = Session::new(SessionId(1), name, identity, limits);
    Subject { session, now: NOW, effects: Vec::new() }
}

/// Where authentication is off.
fn anonymous() -> Subject {
    session(Some(Identity::anonymous()), Limits::default())
}

fn limited(limits: Limits) -> Subject {
    session(Some(Identity::anonymous()), limits)
}

fn unauthenticated() -> Subject {
    session(None, Limits::default())
}

fn allowed(can_read: &[&str], can_write: &[&str]) -> Subject {
    session(Some(identity(can_read, can_write)), Limits::default())
}

impl Subject {
    /// Receives JSON text and gives what that led to.
    fn hears(&mut self, text: &str) -> Vec<Effect> {
        self.hears_bytes(FrameKind::Text, text.as_bytes())
    }

    fn hears_bytes(&mut self, kind: FrameKind, bytes: &[u8]) -> Vec<Effect> {
        self.session.receive(self.now, kind, bytes, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    fn authenticated(&mut self, identity: Option<Identity>) -> Vec<Effect> {
        self.session.authenticated(self.now, identity, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    /// Hears an edit and gives its drafts.
    fn drafts_of(&mut self, text: &str) -> Vec<Draft> {
        match self.hears(text).pop() {
            Some(Effect::Forward { command: Command::Edit { drafts, .. }, .. }) => drafts,
            other => panic!("not forwarded as an edit: {other:?}"),
        }
    }
}

fn subscribe(document: &str) -> String {
    format!(r#"{{"type":"subscribe","id":"s-{document}","documentId":"{document}"}}"#)
}

fn subscribed(document: &str) -> Effect {
    let request_id = format!("s-{document}");
    forwarded(document, Command::Subscribe { request_id, replay: true })
}

fn forwarded(document: &str, command: Command) -> Effect {
    Effect::Forward { document: DocumentId::new(document).unwrap(), command }
}

/// A write of field `x`, with more members after those it always has.
fn delta(more: &str) -> String {
    format!(r#"{{"type":"delta","documentId":"doc","field":"x","value":1{more}}}"#)
}

fn binary(message_type: MessageType, payload: &str) -> Vec<u8> {
    let mut frame = vec![message_type.code().unwrap()];
    frame.extend_from_slice(&NOW.to_be_bytes());
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(payload.as_bytes());
    frame
}

fn pong() -> Vec<Effect> {
    vec![Effect::Reply(ServerMessage::Pong)]
}

/// The one error among the effects.
fn the_error(effects: &[Effect]) -> &ErrorReply {
    let mut errors = effects.iter().filter_map(|effect| match effect {
        Effect::Reply(ServerMessage::Error(error)) => Some(error),
        _ => None,
    });
    let error = errors.next().unwrap_or_else(|| panic!("no error in {effects:?}"));
    assert_eq!(errors.next(), None);
    error
}

fn refused_with(code: ErrorCode, effects: &[Effect]) {
    assert_eq!(the_error(effects).code, code, "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Forward { .. })), "{effects:?}");
}

fn closes(effects: &[Effect]) -> bool {
    let violation = CloseCode::PolicyViolation;
    matches!(effects.last(), Some(Effect::Close { code, .. }) if *code == violation)
}

// Before authentication.

#[test]
fn a_ping_is_answered_before_authentication() {
    assert_eq!(unauthenticated().hears(r#"{"type":"ping"}"#), pong());
}

#[test]
fn what_comes_before_authentication_is_done_after_it_in_order() {
    let mut it = unauthenticated();
    for document in ["a", "b"] {
        assert_eq!(it.hears(&subscribe(document)), []);
    }
    assert_eq!(it.hears(&delta("")), []);
    let token = Some("t".to_owned());
    let auth = it.hears(r#"{"type":"auth","token":"t"}"#);
    assert_eq!(auth, [Effect::Authenticate { token }]);

    let effects = it.authenticated(Some(identity(&["*"], &["*"])));
    assert!(
        matches!(&effects[0], Effect::Reply(ServerMessage::AuthSuccess { user, .. }) if user == "ann")
    );
    assert_eq!(effects[1..3], [subscribed("a"), subscribed("b")]);
    assert!(matches!(&effects[3], Effect::Forward { command: Command::Edit { .. }, .. }));
    assert_eq!(effects.len(), 4);
    assert_eq!(it.hears(&subscribe("c")), [subscribed("c")]);
}

#[test]
fn what_is_held_is_checked_against_the_permissions_that_come() {
    let mut it = unauthenticated();
    it.hears(&subscribe("a"));
    it.hears(&subscribe("b"));
    let effects = it.authenticated(Some(identity(&["b"], &[])));
    assert_eq!(the_error(&effects).document.as_deref(), Some("a"));
    assert_eq!(effects.last(), Some(&subscribed("b")));
}

#[test]
fn one_message_more_than_is_held_closes_the_connection() {
    let mut it = unauthenticated();
    for _ in 0..HELD_MESSAGES_MAX {
        assert_eq!(it.hears(&subscribe("a")), []);
    }
    let effects = it.hears(&subscribe("a"));
    refused_with(ErrorCode::AuthRequired, &effects);
    assert!(closes(&effects));
}

#[test]
fn more_bytes_than_are_held_close_the_connection() {
    let mut it = unauthenticated();
    let half = "x".repeat(HELD_BYTES_MAX / 2);
    let edit = delta(&format!(r#","padding":"{half}""#));
    assert_eq!(it.hears(&edit), []);
    let effects = it.hears(&edit);
    refused_with(ErrorCode::AuthRequired, &effects);
    assert!(closes(&effects));
}

#[test]
fn refused_credentials_close_the_connection_as_a_violation() {
    let mut it = unauthenticated();
    it.hears(&subscribe("a"));
    let effects = it.authenticated(None);
    let reason = "Authentication failed";
    assert_eq!(
        effects,
        [
            Effect::Reply(ServerMessage::AuthError(reason.to_owned())),
            Effect::Close { code: CloseCode::PolicyViolation, reason },
        ]
    );
    let Effect::Close { code, .. } = effects[1] else { unreachable!() };
    assert_eq!(code.code(), 1008);
}

// Authentication.

#[test]
fn without_authentication_the_session_is_open_and_auth_succeeds_as_anonymous() {
    let mut it = anonymous();
    assert_eq!(it.hears(&subscribe("a")), [subscribed("a")]);
    assert_eq!(it.hears(r#"{"type":"auth"}"#), [Effect::Authenticate { token: None }]);
    let effects = it.authenticated(Some(Identity::anonymous()));
    let all = || vec!["*".to_owned()];
    let permissions = Permissions { can_read: all(), can_write: all(), is_admin: false };
    let success = ServerMessage::AuthSuccess { user: "anonymous".to_owned(), permissions };
    assert_eq!(effects, [Effect::Reply(success)]);
}

#[test]
fn another_identity_leaves_the_documents_it_may_not_read() {
    let mut it = allowed(&["a", "b"], &[]);
    it.hears(&subscribe("a"));
    it.hears(&subscribe("b"));
    let effects = it.authenticated(Some(identity(&["b"], &[])));
    assert_eq!(effects[1..], [forwarded("a", Command::Leave)]);
    refused_with(ErrorCode::PermissionDenied, &it.hears(&subscribe("a")));
}

// Permissions.

#[test]
fn reading_needs_the_permission_to_read() {
    for message_type in ["subscribe", "sync_request", "sync_step1", "awareness_subscribe"] {
        let mut it = allowed(&["other"], &["doc"]);
        let message = format!(r#"{{"type":"{message_type}","id":"m","documentId":"doc"}}"#);
        let effects = it.hears(&message);
        refused_with(ErrorCode::PermissionDenied, &effects);
        let error = the_error(&effects);
        assert_eq!(error.code.text(), "Permission denied");
        assert_eq!(error.document.as_deref(), Some("doc"), "{message_type}");
        assert_eq!(error.message_id.as_deref(), Some("m"), "{message_type}");
    }
}

#[test]
fn awareness_needs_the_permission_to_read() {
    let update =
        r#"{"type":"awareness_update","documentId":"doc","clientId":"c","state":{},"clock":1}"#;
    refused_with(ErrorCode::PermissionDenied, &allowed(&[], &["doc"]).hears(update));
    let effects = allowed(&["doc"], &[]).hears(update);
    assert!(matches!(&effects[..], [Effect::Forward { .. }]));
}

#[test]
fn writing_needs_the_permission_to_write() {
    let effects = allowed(&["*"], &["other"]).hears(&delta(r#","messageId":"m""#));
    refused_with(ErrorCode::PermissionDenied, &effects);
    assert_eq!(the_error(&effects).message_id.as_deref(), Some("m"));
    assert_eq!(the_error(&effects).document.as_deref(), Some("doc"));
}

#[test]
fn who_may_only_write_does_not_follow_the_document_by_writing() {
    for (mut it, follows) in [(allowed(&[], &["doc"]), false), (allowed(&["doc"], &["doc"]), true)]
    {
        let effects = it.hears(&delta(""));
        let follow = match &effects[..] {
            [Effect::Forward { command: Command::Edit { follow, .. }, .. }] => *follow,
            other => panic!("{other:?}"),
        };
        assert_eq!(follow, follows);
    }
}

#[test]
fn an_admin_may_everything() {
    let permissions = Permissions { can_read: vec![], can_write: vec![], is_admin: true };
    let identity = Identity { user: "root".to_owned(), permissions };
    let mut it = session(Some(identity), Limits::default());
    assert_eq!(it.hears(&subscribe("doc")), [subscribed("doc")]);
    assert_eq!(it.drafts_of(&delta("")).len(), 1);
}

// Documents of a connection.

#[test]
fn a_sync_request_follows_without_a_replay_and_a_subscription_with_one() {
    let mut it = anonymous();
    let effects = it.hears(r#"{"type":"sync_request","id":"r","documentId":"doc"}"#);
    let command = Command::Subscribe { request_id: "r".to_owned(), replay: false };
    assert_eq!(effects, [forwarded("doc", command)]);
    assert_eq!(it.hears(&subscribe("doc")), [subscribed("doc")]);
}

#[test]
fn a_request_without_an_id_gets_one_of_its_own() {
    let mut it = anonymous();
    let ids: Vec<_> = (0..3)
        .map(|_| match it.hears(r#"{"type":"subscribe","documentId":"doc"}"#).pop() {
            Some(Effect::Forward { command: Command::Subscribe { request_id, .. }, .. }) => {
                request_id
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 3, "{ids:?}");
}

#[test]
fn unsubscribing_leaves_once_and_unknown_documents_are_no_error() {
    let mut it = anonymous();
    it.hears(&subscribe("doc"));
    let unsubscribe = r#"{"type":"unsubscribe","documentId":"doc"}"#;
    assert_eq!(it.hears(unsubscribe), [forwarded("doc", Command::Leave)]);
    assert_eq!(it.hears(unsubscribe), []);
    assert_eq!(it.hears(r#"{"type":"unsubscribe","documentId":"unknown"}"#), []);
}

#[test]
fn a_connection_follows_no_more_documents_than_allowed() {
    let mut it = limited(Limits { subscriptions_max: 2, ..Limits::default() });
    it.hears(&subscribe("a"));
    it.hears(&subscribe("b"));
    assert_eq!(it.hears(&subscribe("a")), [subscribed("a")], "it follows that one already");
    refused_with(ErrorCode::LimitExceeded, &it.hears(&subscribe("c")));
    refused_with(ErrorCode::LimitExceeded, &it.hears(&delta(r#","messageId":"m""#)));
    it.hears(r#"{"type":"unsubscribe","documentId":"a"}"#);
    assert_eq!(it.hears(&subscribe("c")), [subscribed("c")]);
}

#[test]
fn a_sync_step_is_answered_that_nothing_is_missing() {
    let effects = anonymous().hears(r#"{"type":"sync_step1","documentId":"doc"}"#);
    let document = DocumentId::new("doc").unwrap();
    assert_eq!(effects, [Effect::Reply(ServerMessage::SyncStep2(document))]);
}

// Edits.

#[test]
fn an_edit_carries_client_number_time_and_changes() {
    let edit = delta(r#","clientId":"ann","clock":{"ann":3,"server":9},"timestamp":1699999999000"#);
    let drafts = anonymous().drafts_of(&edit);
    let field = FieldName::new("x").unwrap();
    let client = ClientId::new("ann").unwrap();
    let timestamp = 1_699_999_999_000;
    let changes = Changes::Fields(vec![(field, Change::Set(JsonText::parse("1").unwrap()))]);
    assert_eq!(
        drafts,
        [Draft {
            id: DeltaId::derive(&client, EditNumber(3), timestamp, &changes),
            client,
            number: Some(EditNumber(3)),
            timestamp,
            changes,
        }]
    );
}

#[test]
fn an_edit_is_acknowledged_under_its_message_id_else_its_id_else_a_new_one() {
    let mut it = anonymous();
    let mut acknowledged_as = |more: &str| match it.hears(&delta(more)).pop() {
        Some(Effect::Forward { command: Command::Edit { message_id, .. }, .. }) => message_id,
        other => panic!("{other:?}"),
    };
    assert_eq!(acknowledged_as(r#","id":"outer","messageId":"inner""#), "inner");
    assert_eq!(acknowledged_as(r#","id":"outer""#), "outer");
    assert_ne!(acknowledged_as(""), acknowledged_as(""));
}

#[test]
fn a_time_far_ahead_becomes_now_and_the_id_stays_that_of_the_write() {
    let mut it = anonymous();
    let skew = Limits::default().clock_skew_max_ms;
    let written_at = |timestamp: Millis| {
        delta(&format!(r#","clientId":"ann","clock":{{"ann":1}},"timestamp":{timestamp}"#))
    };
    assert_eq!(it.drafts_of(&written_at(NOW + skew))[0].timestamp, NOW + skew);

    let far_ahead = written_at(NOW + skew + 1_001);
    let first = it.drafts_of(&far_ahead).remove(0);
    assert_eq!(first.timestamp, NOW);
    it.now += 1_000;
    let retry = it.drafts_of(&far_ahead).remove(0);
    assert_eq!(retry.timestamp, NOW + 1_000);
    assert_eq!(retry.id, first.id);
    assert_ne!(it.drafts_of(&written_at(NOW + skew + 1_002))[0].id, first.id);
}

#[test]
fn a_write_without_a_time_takes_that_of_its_message_and_else_now() {
    let mut it = anonymous();
    it.now += 5;
    let payload = r#"{"documentId":"doc","field":"x","value":1}"#;
    let effects = it.hears_bytes(FrameKind::Binary, &binary(MessageType::Delta, payload));
    let Some(Effect::Forward { command: Command::Edit { drafts, .. }, .. }) = effects.first()
    else {
        panic!("{effects:?}")
    };
    assert_eq!(drafts[0].timestamp, NOW, "the header's");
    for absent in ["", r#","timestamp":0"#, r#","timestamp":1.5"#, r#","timestamp":-1"#] {
        assert_eq!(it.drafts_of(&delta(absent))[0].timestamp, NOW + 5, "{absent}");
    }
}

#[test]
fn ids_of_writes_without_a_count_never_repeat() {
    let mut it = anonymous();
    let mut ids = BTreeSet::new();
    for more in ["", "", r#","clientId":"ann""#, r#","clientId":"ann","clock":{"ann":0}"#] {
        let draft = it.drafts_of(&delta(&format!(r#","timestamp":7{more}"#))).remove(0);
        assert_eq!(draft.number, None);
        assert!(ids.insert(draft.id), "{more}");
    }
}

#[test]
fn a_write_without_a_client_gets_the_name_of_the_connection() {
    let mut it = anonymous();
    assert_eq!(it.drafts_of(&delta(""))[0].client.as_str(), "node-7-conn-1");
    assert_eq!(it.drafts_of(&delta(r#","clientId":"ann""#))[0].client.as_str(), "ann");
}

#[test]
fn one_unsupported_operation_refuses_the_whole_edit() {
    let batch = r#"{"type":"delta_batch","documentId":"doc","messageId":"m","deltas":[
        {"type":"set","field":"x","value":1},
        {"type":"tree","operation":"move","value":2}]}"#;
    let effects = anonymous().hears(batch);
    refused_with(ErrorCode::UnsupportedOperation, &effects);
    assert_eq!(the_error(&effects).message_id.as_deref(), Some("m"));
    assert!(the_error(&effects).reason.as_ref().unwrap().contains("tree"));
}

#[test]
fn a_batch_is_one_edit_of_as_many_drafts_as_operations() {
    let batch = |count: usize| {
        let operation = r#"{"type":"set","field":"x","value":1}"#;
        let operations = vec![operation; count].join(",");
        format!(r#"{{"type":"delta_batch","documentId":"doc","deltas":[{operations}]}}"#)
    };
    let mut it = anonymous();
    assert_eq!(it.drafts_of(&batch(BATCH_OPERATIONS_MAX)).len(), BATCH_OPERATIONS_MAX);
    refused_with(ErrorCode::InvalidOperation, &it.hears(&batch(BATCH_OPERATIONS_MAX + 1)));
    let effects = it.hears(&batch(0));
    let text = "Invalid delta batch: missing or empty deltas array";
    assert_eq!(the_error(&effects).text, Some(text));
}

#[test]
fn an_operation_for_another_document_is_refused() {
    let batch = r#"{"type":"delta_batch","documentId":"doc","deltas":[
        {"type":"set","documentId":"other","field":"x","value":1}]}"#;
    refused_with(ErrorCode::InvalidOperation, &anonymous().hears(batch));
}

#[test]
fn nobody_writes_under_the_name_of_the_server() {
    refused_with(
        ErrorCode::InvalidOperation,
        &anonymous().hears(&delta(r#","clientId":"server""#)),
    );
}

// Limits over time.

fn at_most(messages_per_minute: u32) -> Subject {
    limited(Limits { messages_per_minute, ..Limits::default() })
}

fn is_over_limit(it: &mut Subject) -> bool {
    match &it.hears(&delta(r#","messageId":"m""#))[..] {
        [Effect::Forward { .. }] => false,
        [Effect::Reply(ServerMessage::Error(error))] => {
            assert_eq!(error.code, ErrorCode::RateLimitExceeded);
            assert_eq!(error.message_id.as_deref(), Some("m"));
            true
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn more_messages_a_minute_than_allowed_are_refused_until_time_passes() {
    let mut it = at_most(3);
    for _ in 0..3 {
        assert!(!is_over_limit(&mut it));
    }
    assert!(is_over_limit(&mut it));
    it.now += 19_999;
    assert!(is_over_limit(&mut it), "a third of a minute earns one message");
    it.now += 1;
    assert!(!is_over_limit(&mut it));
    assert!(is_over_limit(&mut it));
    it.now += 3_600_000;
    let sent = (0..10).take_while(|_| !is_over_limit(&mut it)).count();
    assert_eq!(sent, 3, "an hour of silence earns no more than a minute of it");
}

#[test]
fn trying_often_earns_as_much_as_waiting() {
    let mut it = at_most(7);
    while !is_over_limit(&mut it) {}
    let start = it.now;
    let mut sent = 0;
    while it.now < start + 60_000 {
        it.now += 1;
        sent += u32::from(!is_over_limit(&mut it));
    }
    assert_eq!(sent, 7);
}

#[test]
fn a_clock_that_goes_back_earns_nothing() {
    let mut it = at_most(1);
    assert!(!is_over_limit(&mut it));
    it.now -= 30_000;
    assert!(is_over_limit(&mut it));
    it.now += 30_000;
    assert!(is_over_limit(&mut it));
}

#[test]
fn what_changes_nothing_is_not_counted() {
    let mut it = at_most(1);
    assert!(!is_over_limit(&mut it));
    assert_eq!(it.hears(r#"{"type":"ping"}"#), pong());
    assert_eq!(it.hears(r#"{"type":"ack","messageId":"m"}"#), []);
    assert_eq!(it.hears(&subscribe("a")), [subscribed("a")]);
    let update =
        r#"{"type":"awareness_update","documentId":"a","clientId":"c","state":{},"clock":1}"#;
    refused_with(ErrorCode::RateLimitExceeded, &it.hears(update));
}

// Frames.

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
