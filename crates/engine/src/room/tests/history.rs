//! What others stored: gaps, failed tries, other lives of the document.

use super::*;

#[test]
fn a_gap_is_fetched_once_and_then_all_is_applied_in_order() {
    let mut room = empty_room();
    let ours = room.edits(ANN, vec![draft(("ann", 1, 30, "x", "1"))]);
    let more = room.edits(ANN, vec![draft(("ann", 2, 40, "y", "2"))]);
    let effects = room.is_stored(EPOCH, vec![numbered(ours, 2)]);
    assert_eq!(effects, [Effect::Send(ANN, ack()), Effect::Fetch(position(0))]);
    assert_eq!(room.is_stored(EPOCH, vec![numbered(more, 4)]), [Effect::Send(ANN, ack())]);
    assert_eq!(room.position().seq, Seq(0));

    // The answer may hold what is known already, and may end before the next gap.
    let far = delta_of(("far", 1, 20, "x", "0"));
    let ours_again = delta_of(("ann", 1, 30, "x", "1"));
    let effects = room.hears(Input::Fetched(vec![(Seq(1), far), (Seq(2), ours_again)]));
    assert_eq!(effects[0], Effect::Fetch(position(2)));
    assert_eq!(broadcasts(&effects), [&value_of("x", "1", r#"{"server":2,"ann":2,"far":2}"#)]);

    let far = delta_of(("far", 2, 50, "x", "9"));
    let effects = room.hears(Input::Fetched(vec![(Seq(3), far)]));
    let clock = r#"{"server":4,"ann":4,"far":4}"#;
    assert_eq!(broadcasts(&effects), [&value_of("x", "9", clock), &value_of("y", "2", clock)]);
    assert_eq!(room.position(), position(4));
}

#[test]
fn what_is_fetched_twice_is_applied_once() {
    let mut room =
        room_with(stored_document(EPOCH, &[("ann", 1, 10, "x", "1")]), Limits::default());
    let before = room.document().clone();
    let effects = room.hears(Input::Fetched(vec![(Seq(1), delta_of(("ann", 1, 10, "x", "1")))]));
    assert_eq!(effects, []);
    assert_eq!(*room.document(), before);
}

#[test]
fn an_edit_that_may_be_stored_is_an_error_to_its_writer_and_then_looked_for() {
    let mut room = room_with(stored_document(EPOCH, &[("bob", 1, 5, "y", "0")]), Limits::default());
    let (ticket, deltas) = room.edits(ANN, vec![draft(("ann", 1, 10, "x", "1"))]);
    let code = ErrorCode::StorageUnavailable;
    let effects = room.hears(Input::NotStored { tickets: vec![ticket], code });
    let error = ErrorReply::new(code).on("doc").answering(Some("m"));
    let told = Effect::Send(ANN, ServerMessage::Error(error));
    assert_eq!(effects, [told, Effect::Fetch(position(1))]);
    assert!(room.document().field("x").is_none());

    let found = (Seq(2), deltas.into_iter().next().unwrap());
    assert_eq!(broadcasts(&room.hears(Input::Fetched(vec![found]))).len(), 1);
    assert_eq!(room.position(), position(2));
}

#[test]
fn an_edit_that_failed_during_a_read_is_looked_for_after_it() {
    let mut room = room_with(stored_document(EPOCH, &[("bob", 1, 5, "y", "0")]), Limits::default());
    let code = ErrorCode::StorageUnavailable;
    let [first, second] =
        [1, 2].map(|number| room.edits(ANN, vec![draft(("ann", number, 10, "x", "1"))]));
    let effects = room.hears(Input::NotStored { tickets: vec![first.0], code });
    assert_eq!(effects.last(), Some(&Effect::Fetch(position(1))));
    let effects = room.hears(Input::NotStored { tickets: vec![second.0], code });
    assert_eq!(effects.len(), 1, "one read at a time: {effects:?}");
    let effects = room.hears(Input::Fetched(vec![]));
    assert_eq!(effects, [Effect::Fetch(position(1))], "the first answer may be from before");
    assert_eq!(room.hears(Input::Fetched(vec![])), []);
    room.wants(ANN, Command::Leave);
    assert!(room.is_idle());
}

#[test]
fn an_edit_the_store_refuses_is_an_error_and_nothing_more() {
    let mut room = empty_room();
    let (ticket, _) = room.edits(ANN, vec![draft(("ann", 1, 10, "x", "1"))]);
    let code = ErrorCode::StorageRefused;
    let effects = room.hears(Input::NotStored { tickets: vec![ticket], code });
    let error = ErrorReply::new(code).on("doc").answering(Some("m"));
    assert_eq!(effects, [Effect::Send(ANN, ServerMessage::Error(error))]);
    assert!(room.has_room());
}

#[test]
fn the_first_delta_of_a_document_tells_its_epoch() {
    let mut room = empty_room();
    room.stores(ANN, ("ann", 1, 10, "x", "1"), 1);
    assert_eq!(room.position(), position(1));
}

#[test]
fn another_epoch_is_loaded_anew_and_its_fields_are_sent() {
    let before = [("ann", 1, 10, "gone", "1"), ("ann", 2, 10, "kept", "2")];
    let mut room = room_with(stored_document(EPOCH, &before), Limits::default());
    let edit = room.edits(ANN, vec![draft(("ann", 3, 30, "new", "3"))]);
    let effects = room.is_stored(Epoch(8), vec![numbered(edit, 2)]);
    assert_eq!(effects, [Effect::Send(ANN, ack()), Effect::Reload]);
    assert_eq!(room.position(), position(2), "nothing of it is applied to the old one");

    let after = [("bob", 1, 20, "kept", "9"), ("ann", 3, 30, "new", "3")];
    let effects = room.hears(Input::Reloaded(stored_document(Epoch(8), &after)));
    let clock = r#"{"server":3,"ann":3}"#;
    assert_eq!(
        broadcasts(&effects),
        [
            &value_of("gone", r#"{"__deleted":true}"#, clock),
            &value_of("kept", "9", clock),
            &value_of("new", "3", clock),
        ]
    );
    assert_eq!(room.position(), Position { epoch: Epoch(8), seq: Seq(2) });
}

#[test]
fn an_edit_of_another_epoch_during_a_reload_is_read_after_it() {
    let mut room =
        room_with(stored_document(EPOCH, &[("ann", 1, 10, "x", "1")]), Limits::default());
    let [first, second] =
        [2, 3].map(|number| room.edits(ANN, vec![draft(("ann", number, 20, "x", "2"))]));
    room.is_stored(Epoch(8), vec![numbered(first, 1)]);
    room.is_stored(Epoch(8), vec![numbered(second, 2)]);
    let loaded = stored_document(Epoch(8), &[("ann", 2, 20, "x", "2")]);
    let effects = room.hears(Input::Reloaded(loaded));
    let next = Position { epoch: Epoch(8), seq: Seq(1) };
    assert_eq!(effects.last(), Some(&Effect::Fetch(next)));
}

#[test]
fn a_document_loaded_anew_sends_unchanged_fields_to_writers_whose_edit_lost() {
    // The history between was pruned, so it is not known who lost in it.
    let before = [("ann", 1, 20, "x", "\"new\"")];
    let mut room = room_with(stored_document(EPOCH, &before), Limits::default());
    let after = [before[0], ("zoe", 9, 10, "x", "\"old\"")];
    let effects = room.hears(Input::Reloaded(stored_document(EPOCH, &after)));
    assert_eq!(broadcasts(&effects), [&value_of("x", "\"new\"", r#"{"server":10}"#)]);
    let unchanged = Input::Reloaded(stored_document(EPOCH, &after));
    assert_eq!(room.hears(unchanged), []);
}

#[test]
fn a_document_read_before_the_last_edit_does_not_throw_the_room_back() {
    let code = ErrorCode::StorageUnavailable;
    for loaded in [Snapshot::default(), stored_document(EPOCH, &[("ann", 1, 10, "x", "1")])] {
        let mut room = room_with(loaded.clone(), Limits::default());
        let first = loaded.position.seq.0 + 1;
        let [failed, taken] =
            [2, 3].map(|number| room.edits(ANN, vec![draft(("ann", number, 20, "x", "2"))]));
        room.hears(Input::NotStored { tickets: vec![failed.0], code });
        room.is_stored(EPOCH, vec![numbered(taken, first)]);
        let effects = room.hears(Input::Reloaded(loaded));
        assert_eq!(room.position(), position(first));
        assert!(broadcasts(&effects).is_empty(), "{effects:?}");
    }
}

#[test]
fn a_deleted_document_sends_deletions_with_a_clock_that_clients_can_read() {
    let mut room =
        room_with(stored_document(EPOCH, &[("ann", 1, 10, "x", "1")]), Limits::default());
    let effects = room.hears(Input::Reloaded(Snapshot::default()));
    let deletion = value_of("x", r#"{"__deleted":true}"#, r#"{"server":1}"#);
    assert_eq!(broadcasts(&effects), [&deletion]);
}
