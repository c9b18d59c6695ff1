//! Who follows the document, what they are answered, and how they leave.

use super::*;

#[test]
fn a_document_nobody_wrote_answers_with_no_fields_and_an_empty_clock() {
    let effects = empty_room().subscribes(ANN);
    assert_eq!(effects, [Effect::Send(ANN, answer("{}", "{}"))]);
}

#[test]
fn a_late_subscriber_gets_the_state_and_then_each_live_field() {
    let writes = [
        ("ann", 1, 10, "b", "null"),
        ("ann", 2, 10, "gone", "1"),
        ("ann", 3, 11, "gone", r#"{"__deleted":true}"#),
        ("ann", 4, 12, "a", r#"{"k": 1}"#),
    ];
    let mut room = room_with(stored_document(EPOCH, &writes), Limits::default());
    let clock = r#"{"server":4}"#;
    assert_eq!(
        room.subscribes(ANN),
        [
            Effect::Send(ANN, answer(r#"{"a":{"k": 1},"b":null}"#, clock)),
            Effect::Send(ANN, value_of("a", r#"{"k": 1}"#, clock)),
            Effect::Send(ANN, value_of("b", "null", clock)),
        ]
    );
}

#[test]
fn a_sync_request_gets_the_state_alone() {
    let mut room =
        room_with(stored_document(EPOCH, &[("ann", 1, 10, "x", "1")]), Limits::default());
    let command = Command::Subscribe { request_id: "r".to_owned(), replay: false };
    let state = answer(r#"{"x":1}"#, r#"{"server":1}"#);
    assert_eq!(room.wants(ANN, command), [Effect::Send(ANN, state)]);
    assert_eq!(room.subscribers().count(), 1);
}

#[test]
fn subscribing_twice_answers_twice_and_follows_once() {
    let mut room =
        room_with(stored_document(EPOCH, &[("ann", 1, 10, "x", "1")]), Limits::default());
    assert_eq!(room.subscribes(ANN), room.subscribes(ANN));
    assert_eq!(room.subscribers().count(), 1);
}

#[test]
fn leaving_ends_everything_and_leaves_an_idle_room() {
    let mut room = empty_room();
    room.subscribes(ANN);
    room.watches(ANN);
    assert!(!room.is_idle());
    assert_eq!(room.handle_of(ANN), Some(&"handle"));
    assert_eq!(room.wants(ANN, Command::Leave), []);
    assert_eq!(room.wants(ANN, Command::Leave), []);
    assert_eq!((room.subscribers().count(), room.watchers().count()), (0, 0));
    assert_eq!(room.handle_of(ANN), None);
    assert!(room.is_idle());
}

#[test]
fn clocks_name_the_writers_who_are_here_until_they_leave() {
    let mut room = empty_room();
    room.stores(ANN, ("ann", 1, 10, "x", "1"), 1);
    let clock = |effects: &[Effect]| match &effects[0] {
        Effect::Send(_, ServerMessage::SyncResponse { clock, .. }) => clock.as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(clock(&room.subscribes(BOB)), r#"{"server":1,"ann":1}"#);
    room.wants(ANN, Command::Leave);
    assert_eq!(clock(&room.subscribes(BOB)), r#"{"server":1}"#);
}

#[test]
fn clocks_name_no_more_writers_than_the_bound() {
    let mut room = empty_room();
    let clients: Vec<_> = (0..FEEDBACK_CLIENTS_MAX + 10).map(|n| format!("c{n}")).collect();
    let drafts = clients.iter().map(|name| draft((name, 1, 10, "x", "1"))).collect();
    let edit = room.edits(ANN, drafts);
    let effects = room.is_stored(EPOCH, vec![numbered(edit, 1)]);
    let ServerMessage::Delta { clock, .. } = broadcasts(&effects)[0] else { unreachable!() };
    let clock: BTreeMap<String, u64> = serde_json::from_str(clock.as_str()).unwrap();
    assert_eq!(clock.len(), 1 + FEEDBACK_CLIENTS_MAX);
    assert!(clock.values().all(|entry| *entry == room.document().stamp()));
}
