//! What a room promises, one promise a test.
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod collections;
mod lag;
mod peers;
mod windows;

use super::*;
use crate::clock::EditNumber;
use crate::delta::{Change, Changes, DeltaId};
use crate::ids::{FieldName, NodeId};
use crate::limits::{
    AWARENESS_CLIENTS_PER_SESSION_MAX, EDIT_NUMBER_AHEAD_MAX, EDIT_NUMBER_JUMP_TO_MAX,
    FEEDBACK_CLIENTS_MAX, VALUE_BYTES_MAX,
};
use crate::position::{Delivery, Epoch};
use crate::wire::message::ClientAwareness;
use crate::wire::{ErrorCode, ErrorReply, ServerMessage};

const EPOCH: Epoch = Epoch(7);
const ANN: SessionId = SessionId(1);
const BOB: SessionId = SessionId(2);

fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

fn field(name: &str) -> FieldName {
    FieldName::new(name).unwrap()
}

fn json(text: &str) -> JsonText {
    JsonText::parse(text).unwrap()
}

fn change(text: &str) -> Change {
    Change::from_json(json(text))
}

fn document_id() -> DocumentId {
    DocumentId::new("doc").unwrap()
}

/// A room of a document that nobody has written.
fn empty_room() -> Room<&'static str> {
    room_with(Snapshot::default(), Limits::default())
}

fn room_with(loaded: Snapshot, limits: Limits) -> Room<&'static str> {
    Room::new(document_id(), loaded, limits)
}

/// A stored document: the writes in order, each `(client, number, timestamp, field, value)`.
fn stored_document(epoch: Epoch, writes: &[(&str, u64, u64, &str, &str)]) -> Snapshot {
    let mut document = Document::new();
    for write in writes {
        document.apply(&delta_of(*write));
    }
    Snapshot { position: Position { epoch, seq: Seq(writes.len() as u64) }, document }
}

fn delta_of((name, number, timestamp, to, value): (&str, u64, u64, &str, &str)) -> Delta {
    Delta {
        id: DeltaId::new(&format!("{name}-{number}-{timestamp}-{to}")),
        client: client(name),
        number: EditNumber(number),
        timestamp,
        changes: vec![(field(to), change(value))].into(),
    }
}

fn draft((name, number, timestamp, to, value): (&str, u64, u64, &str, &str)) -> Draft {
    let delta = delta_of((name, number, timestamp, to, value));
    let number = Some(EditNumber(number)).filter(|_| number > 0);
    let Delta { id, client, changes, .. } = delta;
    Draft { id, client, number, timestamp, changes }
}

fn opened(effects: &[Effect]) -> Vec<Window> {
    let windows = effects.iter().filter_map(|effect| match effect {
        Effect::Open(window, _) => Some(*window),
        _ => None,
    });
    windows.collect()
}

/// What the tests say to a room, and what they need of its effects.
impl Room<&'static str> {
    fn hears(&mut self, input: Input<&'static str>) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.handle(input, &mut effects);
        let mut ended = 0;
        while let Some(window) = opened(&effects).get(ended) {
            self.handle(Input::Over(*window), &mut effects);
            ended += 1;
        }
        effects.retain(|effect| !matches!(effect, Effect::Publish(_) | Effect::Open(..)));
        effects
    }

    /// What the other nodes are told.
    fn tells(&mut self, input: Input<&'static str>) -> Vec<PeerMessage> {
        let mut effects = Vec::new();
        self.handle(input, &mut effects);
        let told = effects.into_iter().filter_map(|effect| match effect {
            Effect::Publish(message) => Some(message),
            _ => None,
        });
        told.collect()
    }

    fn wants(&mut self, session: SessionId, command: Command) -> Vec<Effect> {
        self.hears(Input::Command { session, handle: "handle", command })
    }

    fn subscribes(&mut self, session: SessionId) -> Vec<Effect> {
        self.wants(session, Command::Subscribe { request_id: "r".to_owned(), replay: true })
    }

    fn watches(&mut self, session: SessionId) -> Vec<Effect> {
        self.wants(session, Command::AwarenessSubscribe)
    }

    fn shows(
        &mut self,
        session: SessionId,
        name: &str,
        state: Option<&str>,
        clock: u64,
    ) -> Vec<Effect> {
        let command =
            Command::AwarenessUpdate { client: client(name), state: state.map(json), clock };
        self.wants(session, command)
    }

    /// Edits under the message id `m`, and gives what the store is asked to take.
    fn edits(&mut self, session: SessionId, drafts: Vec<Draft>) -> (TicketId, Vec<Delta>) {
        let command = Command::Edit { message_id: "m".to_owned(), drafts, follow: true };
        match self.wants(session, command).pop() {
            Some(Effect::Append { ticket, deltas }) => (ticket, deltas),
            other => panic!("nothing given to the store: {other:?}"),
        }
    }

    /// Writes one field; the store takes it as number `seq`.
    fn stores(
        &mut self,
        session: SessionId,
        write: (&str, u64, u64, &str, &str),
        seq: u64,
    ) -> Vec<Effect> {
        let edit = self.edits(session, vec![draft(write)]);
        self.is_stored(EPOCH, vec![numbered(edit, seq)])
    }

    fn is_stored(&mut self, epoch: Epoch, edits: Vec<StoredEdit>) -> Vec<Effect> {
        self.hears(Input::Stored { epoch, edits })
    }
}

/// An edit as the store took it, numbered from `first` on.
fn numbered((ticket, deltas): (TicketId, Vec<Delta>), first: u64) -> StoredEdit {
    let deliveries = (first..).map(|seq| Delivery::Stored(Seq(seq)));
    StoredEdit { ticket, deltas: deltas.into_iter().zip(deliveries).collect() }
}

/// An edit that the store had already, under the number `seq`.
fn repeated((ticket, deltas): (TicketId, Vec<Delta>), seq: u64) -> StoredEdit {
    let again = |delta| (delta, Delivery::Repeated(Seq(seq)));
    StoredEdit { ticket, deltas: deltas.into_iter().map(again).collect() }
}

fn position(seq: u64) -> Position {
    Position { epoch: EPOCH, seq: Seq(seq) }
}

fn ack() -> ServerMessage {
    ServerMessage::Ack { message_id: "m".to_owned() }
}

fn value_of(to: &str, value: &str, clock: &str) -> ServerMessage {
    let (field, value, clock) = (field(to), change(value), json(clock));
    ServerMessage::Delta { document: document_id(), field, value, clock }
}

fn awareness_of(name: &str, state: Option<&str>, clock: u64) -> ServerMessage {
    let (client, state) = (client(name), state.map(json));
    ServerMessage::AwarenessUpdate { document: document_id(), client, state, clock }
}

fn everybody(here: &[(&str, &str, u64)]) -> ServerMessage {
    let awareness = |(name, state, clock): &(&str, &str, u64)| ClientAwareness {
        client: client(name),
        state: json(state),
        clock: *clock,
    };
    let states = here.iter().map(awareness).collect();
    ServerMessage::AwarenessState { document: document_id(), states }
}

fn answer(state: &str, clock: &str) -> ServerMessage {
    ServerMessage::SyncResponse {
        request_id: "r".to_owned(),
        document: document_id(),
        state: json(state),
        clock: json(clock),
        text: None,
    }
}

fn broadcasts(effects: &[Effect]) -> Vec<&ServerMessage> {
    let broadcasts = effects.iter().filter_map(|effect| match effect {
        Effect::Broadcast(message) => Some(message),
        _ => None,
    });
    broadcasts.collect()
}

// Edits.

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

// What others stored.

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

// Subscriptions.

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

// Awareness.

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

// Back pressure.

#[test]
fn a_room_takes_no_more_commands_than_it_may_have_on_the_way() {
    let limits = Limits { edits_in_flight_max: 3, ..Limits::default() };
    let mut room = room_with(Snapshot::default(), limits);
    let write = |number| draft(("ann", number, 10, "x", "1"));
    let two = room.edits(ANN, vec![write(1), write(2)]);
    assert!(room.has_room());
    let one = room.edits(ANN, vec![write(3)]);
    assert!(!room.has_room());
    let code = ErrorCode::StorageRefused;
    room.hears(Input::NotStored { tickets: vec![one.0], code });
    assert!(room.has_room());
    let one = room.edits(ANN, vec![write(4)]);
    assert!(!room.has_room());
    room.is_stored(EPOCH, vec![numbered(two, 1), numbered(one, 3)]);
    assert!(room.has_room());
}

#[test]
fn a_room_takes_no_more_bytes_than_it_may_have_on_the_way() {
    let mut room = empty_room();
    let large = format!("\"{}\"", "x".repeat(VALUE_BYTES_MAX - 2));
    let mut edits = 0;
    while room.has_room() {
        edits += 1;
        room.edits(ANN, vec![draft(("ann", edits, 10, "x", &large))]);
    }
    assert_eq!(edits, (EDIT_BYTES_IN_FLIGHT_MAX / VALUE_BYTES_MAX) as u64);
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
