//! The documents that a connection follows.

use super::*;

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
