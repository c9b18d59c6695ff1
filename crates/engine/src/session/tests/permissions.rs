//! What a connection may read and write.

use super::*;

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
