//! A store that goes back: a standby takes over, or a backup is put back.

use super::*;
use crate::position::TIMELINE_UNIT;

type Write = (&'static str, u64, u64, &'static str, &'static str);

const NEXT: Epoch = Epoch(EPOCH.0 + TIMELINE_UNIT);
const ELSEWHERE: Epoch = Epoch(EPOCH.0 + (1 << 50));

fn remembering(loaded: Snapshot) -> Room<&'static str> {
    room_with(loaded, Limits::default()).remembering(Arc::new(RecentBudget::new(1 << 20)))
}

/// All effects, and no window ends.
fn effects(room: &mut Room<&'static str>, input: Input<&'static str>) -> Vec<Effect> {
    let mut effects = Vec::new();
    room.handle(input, &mut effects);
    effects
}

fn subscribe(room: &mut Room<&'static str>, session: SessionId, replay: bool) {
    let command = Command::Subscribe { request_id: "r".to_owned(), replay };
    effects(room, Input::Command { session, handle: "handle", command });
}

/// A room at 3: two writes were loaded, the third was made while it was open.
fn room_at_3() -> (Room<&'static str>, [Write; 3]) {
    let writes = [("ann", 1, 10, "x", "1"), ("ann", 2, 20, "y", "2"), ("ann", 3, 30, "x", "3")];
    let mut room = remembering(stored_document(EPOCH, &writes[..2]));
    subscribe(&mut room, BOB, true);
    effects(&mut room, stored_by_another(EPOCH, 3, delta_of(writes[2])));
    assert_eq!(room.position().seq, Seq(3));
    (room, writes)
}

fn stored_by_another(epoch: Epoch, seq: u64, delta: Delta) -> Input<&'static str> {
    let message = PeerMessage::Stored { epoch, deltas: vec![(Seq(seq), delta)] };
    Input::Peer { node: NodeId::new("b"), message, now: crate::time::Moment(0) }
}

fn appended(effects: &[Effect]) -> Vec<Delta> {
    let deltas = effects.iter().filter_map(|effect| match effect {
        Effect::Append { deltas, .. } => Some(deltas.clone()),
        _ => None,
    });
    deltas.flatten().collect()
}

fn reported(effects: &[Effect]) -> Option<Option<usize>> {
    effects.iter().find_map(|effect| match effect {
        Effect::HistoryChanged { stored_again, .. } => Some(*stored_again),
        _ => None,
    })
}

/// The states that a connection was sent, each with its clock.
fn answers(effects: &[Effect], session: SessionId) -> Vec<(String, String)> {
    let answers = effects.iter().filter_map(|effect| match effect {
        Effect::Send(to, ServerMessage::SyncResponse { request_id, state, clock, .. })
            if *to == session =>
        {
            assert_eq!(request_id, "", "it answers nothing that was asked");
            Some((state.as_str().to_owned(), clock.as_str().to_owned()))
        }
        _ => None,
    });
    answers.collect()
}

#[test]
fn what_a_standby_lacks_is_stored_again_under_the_same_id_and_everyone_is_told_the_state() {
    let (mut room, writes) = room_at_3();
    assert_eq!(
        effects(&mut room, Input::Head(Some(Position { epoch: NEXT, seq: Seq(2) }))),
        [Effect::Reload]
    );
    let told = effects(&mut room, Input::Reloaded(stored_document(NEXT, &writes[..2])));
    assert_eq!(appended(&told), [delta_of(writes[2])]);
    assert_eq!(reported(&told), Some(Some(1)));
    let state = (r#"{"x":1,"y":2}"#.to_owned(), r#"{"server":2}"#.to_owned());
    assert_eq!(answers(&told, BOB), [state]);
    assert_eq!(room.position(), Position { epoch: NEXT, seq: Seq(2) });
}

#[test]
fn who_had_written_to_the_standby_first_changes_nothing_about_that() {
    let (mut room, writes) = room_at_3();
    let other = ("zoe", 1, 40, "z", "9");
    effects(&mut room, stored_by_another(NEXT, 3, delta_of(other)));
    let after = [writes[0], writes[1], other];
    let told = effects(&mut room, Input::Reloaded(stored_document(NEXT, &after)));
    assert_eq!(appended(&told), [delta_of(writes[2])]);
    assert_eq!(room.position(), Position { epoch: NEXT, seq: Seq(3) });
}

#[test]
fn a_document_that_a_standby_has_not_at_all_is_made_again() {
    let mut room = remembering(Snapshot::default());
    subscribe(&mut room, BOB, true);
    let first = ("ann", 1, 10, "x", "1");
    effects(&mut room, stored_by_another(EPOCH, 1, delta_of(first)));
    effects(&mut room, Input::Head(None));
    let no_life = Position { epoch: Epoch(NEXT.0 - EPOCH.0), seq: Seq(0) };
    let nothing = Snapshot { position: no_life, ..Snapshot::default() };
    let told = effects(&mut room, Input::Reloaded(nothing));
    assert_eq!(appended(&told), [delta_of(first)]);
}

#[test]
fn a_document_that_somebody_made_again_before_gets_back_what_its_first_life_had() {
    let mut room = remembering(Snapshot::default());
    subscribe(&mut room, BOB, true);
    let (first, other) = (("ann", 1, 10, "x", "1"), ("zoe", 1, 40, "z", "9"));
    effects(&mut room, stored_by_another(EPOCH, 1, delta_of(first)));
    let second_life = Epoch(NEXT.0 + 3);
    effects(&mut room, Input::Head(Some(Position { epoch: second_life, seq: Seq(1) })));
    let told = effects(&mut room, Input::Reloaded(stored_document(second_life, &[other])));
    assert_eq!(appended(&told), [delta_of(first)]);
}

#[test]
fn what_the_standby_has_is_not_stored_again() {
    let (mut room, writes) = room_at_3();
    effects(&mut room, Input::Head(Some(Position { epoch: NEXT, seq: Seq(3) })));
    let told = effects(&mut room, Input::Reloaded(stored_document(NEXT, &writes)));
    assert_eq!(appended(&told), []);
    assert_eq!(reported(&told), Some(Some(0)));
    assert_eq!(answers(&told, BOB).len(), 1);
}

#[test]
fn nothing_is_stored_again_after_a_backup_was_put_back() {
    let (mut room, writes) = room_at_3();
    effects(&mut room, Input::Head(Some(Position { epoch: ELSEWHERE, seq: Seq(2) })));
    let told = effects(&mut room, Input::Reloaded(stored_document(ELSEWHERE, &writes[..2])));
    assert_eq!(appended(&told), []);
    assert_eq!(reported(&told), Some(None));
    assert_eq!(answers(&told, BOB).len(), 1);
}

#[test]
fn nothing_is_stored_again_when_a_part_of_what_was_lost_is_not_kept() {
    let (mut room, writes) = room_at_3();
    effects(&mut room, Input::Head(Some(Position { epoch: NEXT, seq: Seq(1) })));
    let told = effects(&mut room, Input::Reloaded(stored_document(NEXT, &writes[..1])));
    assert_eq!(appended(&told), [], "the second write was loaded, and is not kept");
    assert_eq!(reported(&told), Some(None));
}

#[test]
fn an_edit_that_the_old_server_acknowledged_late_is_stored_again_too() {
    let (mut room, writes) = room_at_3();
    let edit = room.edits(ANN, vec![draft(("ann", 4, 40, "x", "4"))]);
    effects(&mut room, Input::Head(Some(Position { epoch: NEXT, seq: Seq(3) })));
    effects(&mut room, Input::Reloaded(stored_document(NEXT, &writes)));
    let edits = vec![numbered(edit.clone(), 4)];
    let told = effects(&mut room, Input::Stored { epoch: EPOCH, edits });
    assert_eq!(told[0], Effect::Send(ANN, ack()));
    assert_eq!(appended(&told), edit.1);
    assert_eq!(room.position().seq, Seq(3), "its old number means nothing");
}

#[test]
fn clients_do_not_add_up_twice_what_is_stored_again() {
    let mut room = remembering(Snapshot::default());
    subscribe(&mut room, BOB, true);
    let count = |number| Delta {
        changes: Changes::Count(5),
        ..delta_of(("ann", number, 10, "ignored", "0"))
    };
    let relayed = |told: &[Effect]| told.iter().any(|it| matches!(it, Effect::Relay(..)));
    assert!(relayed(&effects(&mut room, stored_by_another(EPOCH, 1, count(1)))));
    effects(&mut room, Input::Head(Some(Position { epoch: NEXT, seq: Seq(0) })));
    let nothing = Position { epoch: NEXT, seq: Seq(0) };
    let told =
        effects(&mut room, Input::Reloaded(Snapshot { position: nothing, ..Snapshot::default() }));
    assert_eq!(appended(&told), [count(1)]);
    assert!(!relayed(&effects(&mut room, stored_by_another(NEXT, 1, count(1)))));
    assert_eq!(room.document().collections().counter().total(), 5);
    assert!(relayed(&effects(&mut room, stored_by_another(NEXT, 2, count(2)))));
}

#[test]
fn a_room_with_edits_to_remember_is_not_idle_before_their_time_is_over() {
    let mut room = remembering(stored_document(EPOCH, &[("ann", 1, 10, "x", "1")]));
    let told = effects(&mut room, stored_by_another(EPOCH, 2, delta_of(("ann", 2, 20, "x", "2"))));
    assert_eq!(opened(&told), [Window::Recent]);
    assert!(!room.is_idle());
    assert_eq!(opened(&effects(&mut room, Input::Over(Window::Recent))), [Window::Recent]);
    assert!(!room.is_idle());
    assert_eq!(opened(&effects(&mut room, Input::Over(Window::Recent))), []);
    assert!(room.is_idle());
}
