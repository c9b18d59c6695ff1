//! What becomes of an edit: stored first, then acknowledged and shown.

use super::*;

#[test]
fn nothing_is_applied_or_answered_before_the_store_has_it() {
    let mut room = empty_room();
    let drafts = vec![draft(("ann", 1, 10, "x", "1"))];
    let command = Command::Edit { message_id: "m".to_owned(), drafts, follow: true };
    let effects = room.wants(ANN, command);
    assert!(matches!(&effects[..], [Effect::Append { .. }]), "{effects:?}");
    assert_eq!(*room.document(), Document::new());
    assert_eq!(room.position(), Position::default());
    assert!(room.awaits_store());
}

#[test]
fn the_writer_is_acknowledged_first_and_then_gets_its_echo_with_all_others() {
    let mut room = empty_room();
    room.subscribes(BOB);
    let effects = room.stores(ANN, ("ann", 1, 10, "x", "1"), 1);
    let echo = value_of("x", "1", r#"{"server":1,"ann":1}"#);
    assert_eq!(effects, [Effect::Send(ANN, ack()), Effect::Broadcast(echo)]);
    assert_eq!(room.subscribers().count(), 2, "writing follows the document");
    assert_eq!(room.position(), position(1));
    assert!(!room.awaits_store());
}

#[test]
fn who_may_not_read_is_acknowledged_and_gets_nothing_else() {
    let mut room = empty_room();
    let drafts = || vec![draft(("ann", 1, 10, "x", "1"))];
    let write = || Command::Edit { message_id: "m".to_owned(), drafts: drafts(), follow: false };
    let edit = |effects: Vec<Effect>| match effects.into_iter().next() {
        Some(Effect::Append { ticket, deltas }) => (ticket, deltas),
        other => panic!("{other:?}"),
    };
    let first = edit(room.wants(ANN, write()));
    assert_eq!(room.is_stored(EPOCH, vec![numbered(first, 1)])[0], Effect::Send(ANN, ack()));
    assert_eq!(room.subscribers().count(), 0);
    let retry = edit(room.wants(ANN, write()));
    let effects = room.is_stored(EPOCH, vec![repeated(retry, 1)]);
    assert_eq!(effects, [Effect::Send(ANN, ack())]);
}

#[test]
fn all_acknowledgements_of_a_commit_come_before_its_broadcasts_one_per_field() {
    let mut room = empty_room();
    let writes = [("ann", 1, 10, "x", "1"), ("ann", 2, 11, "y", "2"), ("ann", 3, 12, "x", "3")];
    let edits: Vec<_> = writes.map(|write| room.edits(ANN, vec![draft(write)])).into();
    let edits = edits.into_iter().zip(1..).map(|(edit, seq)| numbered(edit, seq)).collect();
    let effects = room.is_stored(EPOCH, edits);
    let clock = r#"{"server":3,"ann":3}"#;
    assert_eq!(
        effects,
        [
            Effect::Send(ANN, ack()),
            Effect::Send(ANN, ack()),
            Effect::Send(ANN, ack()),
            Effect::Broadcast(value_of("x", "3", clock)),
            Effect::Broadcast(value_of("y", "2", clock)),
        ]
    );
}

#[test]
fn an_edit_of_several_drafts_is_acknowledged_once() {
    let mut room = empty_room();
    let drafts = vec![draft(("ann", 1, 10, "x", "1")), draft(("ann", 2, 10, "y", "2"))];
    let edit = room.edits(ANN, drafts);
    let effects = room.is_stored(EPOCH, vec![numbered(edit, 1)]);
    let acks = effects.iter().filter(|effect| matches!(effect, Effect::Send(..))).count();
    assert_eq!((acks, broadcasts(&effects).len()), (1, 2));
}

#[test]
fn a_draft_twice_in_one_edit_is_stored_once() {
    let mut room = empty_room();
    let twice = || draft(("ann", 1, 10, "x", "1"));
    let (_, deltas) = room.edits(ANN, vec![twice(), twice()]);
    assert_eq!(deltas.len(), 1);
}

#[test]
fn a_lost_write_is_answered_with_the_winner_under_a_stamp_above_the_losers_count() {
    let mut room =
        room_with(stored_document(EPOCH, &[("ann", 3, 20, "x", "\"new\"")]), Limits::default());
    let effects = room.stores(BOB, ("zoe", 9, 15, "x", "\"old\""), 2);
    let winner = value_of("x", "\"new\"", r#"{"server":10,"zoe":10}"#);
    assert_eq!(effects, [Effect::Send(BOB, ack()), Effect::Broadcast(winner)]);
}

#[test]
fn a_repeat_is_acknowledged_and_answered_to_its_sender_only() {
    let mut room = empty_room();
    room.subscribes(BOB);
    let write = ("ann", 1, 10, "x", "1");
    room.stores(ANN, write, 1);
    room.stores(BOB, ("bob", 5, 20, "x", "2"), 2);
    let retry = room.edits(ANN, vec![draft(write)]);
    let effects = room.is_stored(EPOCH, vec![repeated(retry, 1)]);
    let current = value_of("x", "2", r#"{"server":5,"ann":5,"bob":5}"#);
    assert_eq!(effects, [Effect::Send(ANN, ack()), Effect::Send(ANN, current)]);
    assert_eq!(room.position(), position(2));
}

#[test]
fn a_repeat_beyond_the_position_is_fetched_and_then_sent_to_all() {
    // The try that stored it seemed to fail, or another node has it stored.
    let mut room = empty_room();
    let write = ("ann", 1, 10, "x", "1");
    let retry = room.edits(ANN, vec![draft(write)]);
    let effects = room.is_stored(EPOCH, vec![repeated(retry, 1)]);
    assert_eq!(effects, [Effect::Send(ANN, ack()), Effect::Fetch(position(0))]);
    let effects = room.hears(Input::Fetched(vec![(Seq(1), delta_of(write))]));
    assert_eq!(broadcasts(&effects), [&value_of("x", "1", r#"{"server":1,"ann":1}"#)]);
}

#[test]
fn clients_without_counts_get_counts_that_go_on_over_commits_and_flights() {
    let mut room =
        room_with(stored_document(EPOCH, &[("ann", 3, 10, "x", "1")]), Limits::default());
    let counted = |edit: &(TicketId, Vec<Delta>)| edit.1[0].number.0;
    let uncounted = |timestamp| vec![draft(("ann", 0, timestamp, "x", "1"))];
    let first = room.edits(ANN, uncounted(11));
    let second = room.edits(ANN, uncounted(12));
    assert_eq!((counted(&first), counted(&second)), (4, 5));
    room.is_stored(EPOCH, vec![numbered(first, 2), numbered(second, 3)]);
    assert_eq!(counted(&room.edits(ANN, uncounted(13))), 6);
}

#[test]
fn counts_go_on_while_a_stored_edit_waits_for_those_before_it() {
    let mut room = empty_room();
    let uncounted = |timestamp| vec![draft(("ann", 0, timestamp, "x", "1"))];
    let first = room.edits(ANN, uncounted(10));
    room.is_stored(EPOCH, vec![numbered(first, 2)]);
    let (_, deltas) = room.edits(ANN, uncounted(10));
    assert_eq!(deltas[0].number, EditNumber(2), "the first is stored, though not applied yet");
}

#[test]
fn answers_to_edits_the_room_did_not_give_are_ignored() {
    let mut room = empty_room();
    let edit = room.edits(ANN, vec![draft(("ann", 1, 10, "x", "1"))]);
    room.is_stored(EPOCH, vec![numbered(edit.clone(), 1)]);
    assert_eq!(room.is_stored(EPOCH, vec![numbered(edit.clone(), 1)]), []);
    let tickets = vec![edit.0];
    let effects = room.hears(Input::NotStored { tickets, code: ErrorCode::StorageRefused });
    assert_eq!(effects, []);
}

#[test]
fn a_writer_that_left_is_still_stored() {
    let mut room = empty_room();
    room.subscribes(BOB);
    let edit = room.edits(ANN, vec![draft(("ann", 1, 10, "x", "1"))]);
    room.wants(ANN, Command::Leave);
    assert!(!room.is_idle());
    let effects = room.is_stored(EPOCH, vec![numbered(edit, 1)]);
    assert_eq!(broadcasts(&effects).len(), 1);
    assert_eq!(room.position(), position(1));
}

#[test]
fn an_edit_is_acknowledged_to_a_connection_that_left_meanwhile() {
    let mut room = empty_room();
    let edit = room.edits(ANN, vec![draft(("ann", 1, 10, "a", "1"))]);
    room.wants(ANN, Command::Leave);
    assert!(!room.is_idle(), "the edit is under way");
    assert_eq!(room.is_stored(EPOCH, vec![numbered(edit, 1)])[0], Effect::Send(ANN, ack()));
    assert!(room.handle_of(ANN).is_some(), "the shell can still reach it");
    assert!(room.is_idle());
    room.watches(BOB);
    assert_eq!(room.handle_of(ANN), None);
}

#[test]
fn no_client_uses_up_the_numbers_of_the_others() {
    let mut room = empty_room();
    let refused = |room: &mut Room<&'static str>, number| {
        let drafts = vec![draft(("eve", number, 10, "x", "1"))];
        let command = Command::Edit { message_id: "m".to_owned(), drafts, follow: true };
        let effects = room.wants(ANN, command);
        matches!(&effects[..], [Effect::Send(ANN, ServerMessage::Error(error))]
            if error.code == ErrorCode::InvalidClock && error.message_id.as_deref() == Some("m"))
    };
    assert!(refused(&mut room, EDIT_NUMBER_JUMP_TO_MAX + EDIT_NUMBER_AHEAD_MAX));
    room.stores(ANN, ("eve", EDIT_NUMBER_JUMP_TO_MAX, 10, "x", "1"), 1);
    // The others count on from what they are told, with all they did offline.
    room.stores(BOB, ("bob", EDIT_NUMBER_JUMP_TO_MAX + EDIT_NUMBER_AHEAD_MAX, 11, "x", "2"), 2);
    assert!(refused(&mut room, EDIT_NUMBER_JUMP_TO_MAX + 2 * EDIT_NUMBER_AHEAD_MAX + 1));
    let far =
        room.shows(ANN, "eve", Some("{}"), EDIT_NUMBER_JUMP_TO_MAX + 2 * EDIT_NUMBER_AHEAD_MAX);
    assert!(matches!(&far[1..], [Effect::Send(ANN, ServerMessage::Error(_))]), "{far:?}");
}
