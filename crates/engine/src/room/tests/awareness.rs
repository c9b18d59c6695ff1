//! Who is here, as connections to this node say it.

use super::*;

#[test]
fn awareness_is_answered_with_everybody_and_sent_to_all_who_watch() {
    let mut room = empty_room();
    assert_eq!(room.watches(ANN), [Effect::Send(ANN, everybody(&[]))]);
    let update = awareness_of("ann", Some(r#"{"x":1}"#), 1);
    assert_eq!(room.shows(ANN, "ann", Some(r#"{"x":1}"#), 1), [Effect::BroadcastAwareness(update)]);
    assert_eq!(room.watches(BOB), [Effect::Send(BOB, everybody(&[("ann", r#"{"x":1}"#, 1)]))]);
    assert_eq!((room.watchers().count(), room.subscribers().count()), (2, 0));
}

#[test]
fn the_first_update_of_a_connection_gets_the_others_before_it_is_sent_out() {
    let mut room = empty_room();
    room.shows(ANN, "ann", Some("{}"), 1);
    let others = everybody(&[("ann", "{}", 1)]);
    let update = awareness_of("bob", Some("{}"), 1);
    assert_eq!(
        room.shows(BOB, "bob", Some("{}"), 1),
        [Effect::Send(BOB, others), Effect::BroadcastAwareness(update)]
    );
    let update = awareness_of("bob", Some("{}"), 2);
    assert_eq!(room.shows(BOB, "bob", Some("{}"), 2), [Effect::BroadcastAwareness(update)]);
}

#[test]
fn who_asked_before_its_first_update_is_told_once_more_if_there_are_others() {
    let mut room = empty_room();
    room.shows(ANN, "ann", Some("{}"), 1);
    room.watches(BOB);
    let others = everybody(&[("ann", "{}", 1)]);
    let update = awareness_of("bob", Some("{}"), 1);
    assert_eq!(
        room.shows(BOB, "bob", Some("{}"), 1),
        [Effect::Send(BOB, others), Effect::BroadcastAwareness(update)]
    );
    let update = awareness_of("bob", Some("{}"), 2);
    assert_eq!(room.shows(BOB, "bob", Some("{}"), 2), [Effect::BroadcastAwareness(update)]);
}

#[test]
fn stale_awareness_is_not_sent_on() {
    let mut room = empty_room();
    room.shows(ANN, "ann", Some("{}"), 5);
    assert_eq!(room.shows(ANN, "ann", Some(r#"{"x":1}"#), 5), []);
    assert_eq!(room.shows(ANN, "ann", None, 4), []);
    assert_eq!(room.shows(ANN, "nobody", None, 1), []);
}

#[test]
fn a_client_that_says_goodbye_is_gone_and_the_connection_still_watches() {
    let mut room = empty_room();
    room.shows(ANN, "ann", Some("{}"), 1);
    let gone = awareness_of("ann", None, 2);
    assert_eq!(room.shows(ANN, "ann", None, 2), [Effect::BroadcastAwareness(gone)]);
    assert_eq!(room.watches(BOB), [Effect::Send(BOB, everybody(&[]))]);
    assert_eq!(room.watchers().count(), 2);
}

#[test]
fn a_connection_that_leaves_takes_all_its_clients_with_it() {
    let mut room = empty_room();
    room.watches(BOB);
    room.shows(ANN, "ann", Some("{}"), 3);
    room.shows(ANN, "ann-2", Some("{}"), 7);
    assert_eq!(
        room.wants(ANN, Command::Leave),
        [
            Effect::BroadcastAwareness(awareness_of("ann", None, 4)),
            Effect::BroadcastAwareness(awareness_of("ann-2", None, 8)),
        ]
    );
    assert_eq!(room.watchers().count(), 1);
}

#[test]
fn a_client_that_came_back_survives_the_end_of_its_old_connection() {
    let mut room = empty_room();
    room.shows(ANN, "tab", Some("{}"), 9);
    room.shows(BOB, "tab", Some("{}"), 1);
    assert_eq!(room.wants(ANN, Command::Leave), []);
    assert_eq!(room.watches(ANN), [Effect::Send(ANN, everybody(&[("tab", "{}", 10)]))]);
}

#[test]
fn a_connection_speaks_for_no_more_clients_than_allowed() {
    let mut room = empty_room();
    for n in 0..AWARENESS_CLIENTS_PER_SESSION_MAX {
        room.shows(ANN, &format!("c{n}"), Some("{}"), 1);
    }
    let effects = room.shows(ANN, "more", Some("{}"), 1);
    let [Effect::Send(ANN, ServerMessage::Error(error))] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((error.code, error.document.as_deref()), (ErrorCode::LimitExceeded, Some("doc")));
}
