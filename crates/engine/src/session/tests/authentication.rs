//! Authentication, and what comes before it.

use super::*;

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
