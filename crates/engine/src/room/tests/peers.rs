//! What a room makes of what other nodes say.

use super::*;

const DAN: SessionId = SessionId(4);

fn node_b() -> NodeId {
    NodeId::new("b")
}

fn stored_by_b(epoch: Epoch, seq: u64, write: (&str, u64, u64, &str, &str)) -> Input<&'static str> {
    let deltas = vec![(Seq(seq), delta_of(write))];
    Input::Peer { node: node_b(), message: PeerMessage::Stored { epoch, deltas }, now: Moment(0) }
}

fn awareness_of_b(is_repeated: bool, entries: &[(&str, Option<&str>, u64)]) -> Input<&'static str> {
    let entries =
        entries.iter().map(|(name, state, clock)| (client(name), state.map(json), *clock));
    let message = PeerMessage::Awareness { is_repeated, entries: entries.collect() };
    Input::Peer { node: node_b(), message, now: Moment(0) }
}

#[test]
fn what_was_stored_here_is_told_to_the_others_once() {
    let mut room = empty_room();
    let (ticket, deltas) = room.edits(ANN, vec![draft(("ann", 1, 10, "a", "1"))]);
    let first = vec![(deltas[0].clone(), Delivery::Stored(Seq(1)))];
    let edits = vec![StoredEdit { ticket, deltas: first }];
    let told = room.tells(Input::Stored { epoch: Epoch(3), edits });
    let expected = vec![(Seq(1), deltas[0].clone())];
    assert_eq!(told, [PeerMessage::Stored { epoch: Epoch(3), deltas: expected }]);

    let (ticket, deltas) = room.edits(ANN, vec![draft(("ann", 1, 10, "a", "1"))]);
    let again = vec![(deltas[0].clone(), Delivery::Repeated(Seq(1)))];
    let edits = vec![StoredEdit { ticket, deltas: again }];
    assert_eq!(room.tells(Input::Stored { epoch: Epoch(3), edits }), []);
}

#[test]
fn what_another_node_stored_is_next_stale_or_shows_a_gap() {
    let stored = stored_document(Epoch(3), &[("ann", 1, 10, "a", "1")]);
    let mut room = room_with(stored, Limits::default());
    let next = room.hears(stored_by_b(Epoch(3), 2, ("ben", 1, 20, "a", "2")));
    assert_eq!(broadcasts(&next).len(), 1);
    assert_eq!(room.hears(stored_by_b(Epoch(3), 2, ("ben", 1, 20, "a", "2"))), [], "repeated");
    let after = Position { epoch: Epoch(3), seq: Seq(2) };
    let effects = room.hears(stored_by_b(Epoch(3), 4, ("ben", 3, 40, "a", "4")));
    assert_eq!(effects, [Effect::Fetch(after)]);
    // The message that was lost arrives after all, and closes the gap before the store does.
    let effects = room.hears(stored_by_b(Epoch(3), 3, ("ben", 2, 30, "b", "3")));
    assert_eq!((broadcasts(&effects).len(), room.position().seq), (2, Seq(4)));
    assert_eq!(room.hears(Input::Fetched(vec![])), []);
}

#[test]
fn another_life_of_the_document_is_read_anew() {
    let stored = stored_document(Epoch(3), &[("ann", 1, 10, "a", "1")]);
    let mut room = room_with(stored.clone(), Limits::default());
    assert_eq!(room.hears(stored_by_b(Epoch(4), 1, ("ben", 1, 20, "a", "2"))), [Effect::Reload]);
    let mut room = room_with(stored, Limits::default());
    assert_eq!(room.hears(Input::Head(None)), [Effect::Reload], "it was deleted");
}

#[test]
fn a_head_beyond_the_position_is_read_and_none_before_it() {
    let stored = stored_document(Epoch(3), &[("ann", 1, 10, "a", "1")]);
    let mut room = room_with(stored, Limits::default());
    let head = |seq| Input::Head(Some(Position { epoch: Epoch(3), seq: Seq(seq) }));
    assert_eq!(room.hears(head(0)), []);
    assert_eq!(room.hears(head(1)), []);
    let after = Position { epoch: Epoch(3), seq: Seq(1) };
    assert_eq!(room.hears(head(2)), [Effect::Fetch(after)]);
    assert_eq!(room.hears(head(3)), [], "one read at a time");
    let second = vec![(Seq(2), delta_of(("ben", 1, 20, "a", "2")))];
    let effects = room.hears(Input::Fetched(second));
    assert_eq!(broadcasts(&effects).len(), 1);
    let after = Position { epoch: Epoch(3), seq: Seq(2) };
    assert!(effects.contains(&Effect::Fetch(after)), "the second head asks for another read");
}

#[test]
fn a_merged_delta_is_stored_and_shown_but_neither_acknowledged_nor_told_on() {
    let mut room = empty_room();
    room.subscribes(ANN);
    let delta = delta_of(("ben", 1, 20, "a", "2"));
    let effects = room.hears(Input::Merge(vec![delta.clone()]));
    let [Effect::Append { ticket, .. }] = effects[..] else { panic!("{effects:?}") };
    let edits = vec![StoredEdit { ticket, deltas: vec![(delta, Delivery::Stored(Seq(1)))] }];
    let mut effects = Vec::new();
    room.handle(Input::Stored { epoch: Epoch(3), edits }, &mut effects);
    assert!(matches!(effects[..], [Effect::Broadcast(_)]), "{effects:?}");
}

#[test]
fn awareness_comes_and_goes_with_what_its_node_says() {
    let mut room = empty_room();
    room.watches(ANN);
    assert_eq!(
        room.hears(awareness_of_b(true, &[("ben", Some("{}"), 1), ("cem", Some("{}"), 1)])).len(),
        2
    );
    let everybody = room.watches(DAN);
    let [Effect::Send(DAN, ServerMessage::AwarenessState { states, .. })] = &everybody[..] else {
        panic!("{everybody:?}")
    };
    assert_eq!(states.len(), 2, "on any node everybody is seen");
    assert_eq!(room.hears(awareness_of_b(false, &[("cem", None, 2)])).len(), 1, "cem is gone");
    assert_eq!(room.hears(Input::NodeGone { node: node_b(), until: Moment(50) }), []);
    assert_eq!(room.next_tick(), Some(Moment(50)));
    assert_eq!(room.hears(Input::Tick(Moment(50))).len(), 1, "ben is gone with its node");
}

#[test]
fn a_client_that_comes_back_on_another_node_never_seems_gone() {
    let mut room = empty_room();
    room.watches(DAN);
    room.shows(ANN, "ann", Some("{}"), 3);
    assert_eq!(room.wants(ANN, Command::Vanish { until: Moment(100) }), []);
    assert_eq!(room.hears(awareness_of_b(false, &[("ann", Some("{}"), 3)])), []);
    assert_eq!(room.hears(Input::Tick(Moment(1_000))), []);
    assert!(!room.has_awareness(), "it is the other node's now");
}

#[test]
fn who_asks_is_told_everybody_who_is_here() {
    let mut room = empty_room();
    room.shows(ANN, "ann", Some("{}"), 3);
    room.hears(awareness_of_b(true, &[("ben", Some("{}"), 1)]));
    let asked =
        Input::Peer { node: node_b(), message: PeerMessage::AwarenessAsked, now: Moment(0) };
    let entries = vec![(client("ann"), Some(json("{}")), 3)];
    assert_eq!(room.tells(asked), [PeerMessage::Awareness { is_repeated: true, entries }]);
}

#[test]
fn a_room_without_other_nodes_tells_nobody_what_it_stored() {
    let mut room = empty_room().alone();
    let (ticket, deltas) = room.edits(ANN, vec![draft(("ann", 1, 10, "a", "1"))]);
    let edits =
        vec![StoredEdit { ticket, deltas: vec![(deltas[0].clone(), Delivery::Stored(Seq(1)))] }];
    assert_eq!(room.tells(Input::Stored { epoch: Epoch(3), edits }), []);
    assert_eq!(room.position().seq, Seq(1));
}

#[test]
fn a_number_at_the_end_of_its_range_ends_no_room() {
    let mut room = empty_room();
    room.hears(stored_by_b(EPOCH, 1, ("ann", u64::MAX, 10, "a", "1")));
    room.hears(stored_by_b(EPOCH, 2, ("bob", 1, 11, "a", "2")));
    let (_, deltas) = room.edits(ANN, vec![draft(("ann", 0, 12, "a", "3"))]);
    assert_eq!(deltas[0].number, EditNumber(u64::MAX));
    assert_eq!(room.position(), position(2));
}
