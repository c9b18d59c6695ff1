//! Texts, counters, sets and formats.

use super::*;
use crate::delta::SetChange;
use crate::limits::{COUNT_MAX, FORMAT_BYTES_MAX, TEXT_WINDOW_BYTES, TEXT_WINDOW_MS};
use crate::text::TextState;

const TIME: u64 = 10;

fn edit_of(name: &str, number: u64, changes: Changes) -> Draft {
    let number = EditNumber(number);
    let id = DeltaId::derive(&client(name), number, TIME, &changes);
    Draft { id, client: client(name), number: Some(number), timestamp: TIME, changes }
}

/// The state of a text in which each client typed one word.
fn text(words: &[(&str, &str)]) -> TextState {
    let blocks = words.iter().map(|(name, word)| {
        let id = format!(r#"{{"client_id":"{name}","clock":{},"offset":0}}"#, word.len());
        format!(
            r#"[{id},{{"id":{id},"text":"{word}","left_origin":null,"right_origin":null,"deleted":false}}]"#
        )
    });
    let mut blocks: Vec<_> = blocks.collect();
    blocks.sort();
    let json = format!(
        r#"{{"blocks":[{}],"clock":{{"value":900000}},"client_id":"x"}}"#,
        blocks.join(",")
    );
    TextState::parse(&json).unwrap()
}

/// The operations of a `delta_batch`.
fn operations(message: &ServerMessage) -> Vec<serde_json::Value> {
    let ServerMessage::DeltaBatch { operations, .. } = message else { panic!("{message:?}") };
    operations.iter().map(|it| serde_json::from_str(it.as_str()).unwrap()).collect()
}

/// Stores an edit of one operation as number `seq` and gives what follows, without the
/// acknowledgement.
fn stores(
    room: &mut Room<&'static str>,
    session: SessionId,
    draft: Draft,
    seq: u64,
) -> Vec<Effect> {
    let edit = room.edits(session, vec![draft]);
    let mut effects = room.is_stored(EPOCH, vec![numbered(edit, seq)]);
    assert_eq!(effects.remove(0), Effect::Send(session, ack()));
    effects
}

fn shown_text(message: &ServerMessage) -> TextState {
    let operations = operations(message);
    let [operation] = &operations[..] else { panic!("{operations:?}") };
    assert_eq!(operation["type"], "text-state");
    assert_eq!(operation["clientId"], "server", "clients pass over their own");
    assert_eq!(operation["documentId"], "doc");
    assert!(operation["clock"]["server"].is_u64());
    TextState::parse(operation["state"].as_str().unwrap()).unwrap()
}

#[test]
fn what_a_text_lacked_is_stored_and_the_whole_is_sent_to_all() {
    let mut room = empty_room();
    room.subscribes(BOB);
    stores(&mut room, ANN, edit_of("ann", 1, Changes::Text(text(&[("ann", "one")]))), 1);
    let both = text(&[("ann", "one"), ("bob", "two")]);
    let (ticket, deltas) = room.edits(BOB, vec![edit_of("bob", 1, Changes::Text(both.clone()))]);
    assert_eq!(deltas[0].changes, Changes::Text(both.minus(&text(&[("ann", "one")]))));
    let effects = room.is_stored(EPOCH, vec![numbered((ticket, deltas), 2)]);
    assert_eq!(effects[0], Effect::Send(BOB, ack()));
    let [message] = broadcasts(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(shown_text(message), both);
    assert!(matches!(message, ServerMessage::DeltaBatch { text: true, .. }));
}

#[test]
fn a_text_that_is_known_is_acknowledged_without_storing_it() {
    let mut room = empty_room();
    let state = Changes::Text(text(&[("ann", "one")]));
    stores(&mut room, ANN, edit_of("ann", 1, state.clone()), 1);
    let command = Command::Edit {
        message_id: "m".to_owned(),
        drafts: vec![edit_of("ann", 2, state)],
        follow: true,
    };
    assert_eq!(room.wants(ANN, command), [Effect::Send(ANN, ack())]);
}

#[test]
fn two_states_of_one_number_and_time_are_two_edits() {
    let mut room = empty_room();
    let edits = vec![
        edit_of("ann", 1, Changes::Text(text(&[("ann", "one")]))),
        edit_of("ann", 1, Changes::Text(text(&[("ann", "one"), ("bob", "two")]))),
    ];
    assert_eq!(room.edits(ANN, edits).1.len(), 2);
}

#[test]
fn a_joiner_gets_the_text_with_the_answer() {
    let mut room = empty_room();
    let state = text(&[("ann", "one")]);
    stores(&mut room, ANN, edit_of("ann", 1, Changes::Text(state.clone())), 1);
    let effects = room.subscribes(BOB);
    let [Effect::Send(BOB, ServerMessage::SyncResponse { text: Some((string, time)), .. })] =
        &effects[..]
    else {
        panic!("{effects:?}")
    };
    let string: String = serde_json::from_str(string.as_str()).unwrap();
    assert_eq!((TextState::parse(&string).unwrap(), *time), (state, TIME));
}

#[test]
fn a_text_is_sent_at_once_and_then_only_its_newest_state_at_the_end_of_a_window() {
    let mut room = empty_room();
    let mut effects = Vec::new();
    let mut known = vec![("ann", "one")];
    let mut store = |room: &mut Room<&'static str>, known: &[_], seq: u64| {
        let draft = edit_of("ann", seq, Changes::Text(text(known)));
        let command =
            Command::Edit { message_id: "m".to_owned(), drafts: vec![draft], follow: true };
        room.handle(Input::Command { session: ANN, handle: "h", command }, &mut effects);
        let Some(Effect::Append { ticket, deltas }) = effects.pop() else { panic!() };
        let edits = vec![numbered((ticket, deltas), seq)];
        effects.clear();
        room.handle(Input::Stored { epoch: EPOCH, edits }, &mut effects);
        effects.clone()
    };
    let first = store(&mut room, &known, 1);
    assert_eq!(broadcasts(&first).len(), 1);
    assert!(first.contains(&Effect::Open(Window::Text, TEXT_WINDOW_MS)));
    for (seq, name) in [(2, "bob"), (3, "cem")] {
        known.push((name, "word"));
        assert_eq!(broadcasts(&store(&mut room, &known, seq)).len(), 0);
    }
    let mut over = Vec::new();
    room.handle(Input::Over(Window::Text), &mut over);
    assert_eq!(shown_text(broadcasts(&over)[0]), text(&known));
    assert_eq!(over.last(), Some(&Effect::Open(Window::Text, TEXT_WINDOW_MS)));
    over.clear();
    room.handle(Input::Over(Window::Text), &mut over);
    assert_eq!(over, [], "nothing came during that one");
}

#[test]
fn a_longer_text_has_a_longer_window() {
    let mut room = empty_room();
    let word = "x".repeat(10 * TEXT_WINDOW_BYTES);
    let json = Changes::Text(text(&[("ann", &word)]));
    let edit = room.edits(ANN, vec![edit_of("ann", 1, json)]);
    let mut effects = Vec::new();
    room.handle(Input::Stored { epoch: EPOCH, edits: vec![numbered(edit, 1)] }, &mut effects);
    assert!(effects.contains(&Effect::Open(Window::Text, TEXT_WINDOW_MS + 10)), "{effects:?}");
}

#[test]
fn a_counter_operation_is_counted_once_and_passed_on_to_the_others() {
    let mut room = empty_room();
    room.subscribes(ANN);
    room.subscribes(BOB);
    let increment = edit_of("ann", 1, Changes::Count(2));
    let effects = stores(&mut room, ANN, increment.clone(), 1);
    let [Effect::Relay(writer, message)] = &effects[..] else { panic!("{effects:?}") };
    let expected = serde_json::json!([{
        "type": "counter", "operation": "increment", "value": 2, "documentId": "doc",
        "clientId": "ann", "timestamp": TIME, "clock": {"ann": 1}
    }]);
    assert_eq!(serde_json::Value::from(operations(message)), expected);
    assert_eq!(room.others(writer).count(), 1, "its writer has counted it");
    assert_eq!(room.subscribers().count(), 2);

    let decrement = edit_of("bob", 1, Changes::Count(-COUNT_MAX));
    let effects = stores(&mut room, BOB, decrement, 2);
    let [Effect::Relay(_, message)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(operations(message)[0]["operation"], "decrement");
    assert_eq!(operations(message)[0]["value"], COUNT_MAX);

    // Its delta was compacted away, so the store took it as new.
    assert_eq!(stores(&mut room, ANN, increment, 3), []);
    let total = room.document().collections().counter().total();
    assert_eq!(total, 2 - i128::from(COUNT_MAX));
    assert_eq!(room.subscribes(BOB).len(), 1, "joiners get no counts: they would add them");
}

#[test]
fn a_set_is_sent_as_what_became_of_each_value() {
    let mut room = empty_room();
    let change = |name: &str, number, change| edit_of(name, number, Changes::Set(change));
    let effects = stores(&mut room, ANN, change("ann", 5, SetChange::Remove(json("1"))), 1);
    let names = |effects: &[Effect]| -> Vec<String> {
        let operations = operations(broadcasts(effects)[0]).into_iter();
        let name = |it: serde_json::Value| {
            assert_eq!((&it["type"], &it["clientId"]), (&"set".into(), &"server".into()));
            format!("{} {}", it["operation"].as_str().unwrap(), it["value"])
        };
        operations.map(name).collect()
    };
    assert_eq!(names(&effects), ["remove 1"]);
    let effects = stores(&mut room, ANN, change("ann", 4, SetChange::Add(json("1"))), 2);
    assert_eq!(
        names(&effects),
        ["remove 1"],
        "an older addition loses, and its writer hears of it"
    );
    stores(&mut room, ANN, change("ann", 9, SetChange::Add(json("\"late\""))), 3);
    let effects = stores(&mut room, BOB, change("ann", 8, SetChange::Clear), 4);
    assert_eq!(names(&effects), ["clear null", "add \"late\""]);
    let joined = room.subscribes(BOB);
    let [Effect::Send(BOB, _), Effect::Send(BOB, batch)] = &joined[..] else {
        panic!("{joined:?}")
    };
    assert_eq!(operations(batch).len(), 2, "a clear, and an addition of each element");
}

#[test]
fn formats_are_kept_once_passed_on_and_told_to_joiners_up_to_a_bound() {
    let mut room = empty_room();
    let format = |number, length: usize| {
        let text = format!(r#"{{"type":"richtext","attributes":"{}"}}"#, "x".repeat(length));
        edit_of("ann", number, Changes::Format(json(&text)))
    };
    let effects = stores(&mut room, ANN, format(1, 1), 1);
    assert!(matches!(&effects[..], [Effect::Relay(writer, _)] if *writer == client("ann")));
    assert_eq!(stores(&mut room, ANN, format(1, 1), 2), []);
    let joined = room.subscribes(BOB);
    let Some(Effect::Send(BOB, batch)) = joined.last() else { panic!("{joined:?}") };
    assert_eq!(operations(batch).len(), 1);

    let drafts = vec![format(2, FORMAT_BYTES_MAX)];
    let command = Command::Edit { message_id: "m".to_owned(), drafts, follow: true };
    let effects = room.wants(ANN, command);
    let [Effect::Send(ANN, ServerMessage::Error(error))] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((error.code, error.message_id.as_deref()), (ErrorCode::LimitExceeded, Some("m")));
}

#[test]
fn a_document_that_is_read_anew_shows_what_was_missed_of_all_of_them() {
    let mut room = empty_room();
    room.subscribes(BOB);
    stores(&mut room, ANN, edit_of("ann", 1, Changes::Count(1)), 1);
    let mut document = room.document().clone();
    for (number, changes) in [
        (2, Changes::Count(5)),
        (3, Changes::Set(SetChange::Add(json("7")))),
        (4, Changes::Text(text(&[("ann", "one")]))),
        (5, Changes::Format(json("{}"))),
    ] {
        let key = crate::delta::WriteKey {
            timestamp: TIME,
            number: EditNumber(number),
            client: client("ann"),
        };
        document.apply(&Delta::of(&key, changes));
    }
    room.hears(Input::Head(Some(Position { epoch: Epoch(8), seq: Seq(1) })));
    let position = Position { epoch: Epoch(8), seq: Seq(5) };
    let effects = room.hears(Input::Reloaded(Snapshot { position, document }));
    let relayed: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Relay(_, message) => Some(operations(message)[0]["value"].clone()),
            _ => None,
        })
        .collect();
    assert_eq!(relayed, [serde_json::json!(5), serde_json::Value::Null], "a count and a format");
    assert_eq!(broadcasts(&effects).len(), 2, "the set and the text");
}

#[test]
fn the_deltas_of_a_document_make_it_again() {
    let mut room = empty_room();
    for (seq, changes) in [
        Changes::Count(5),
        Changes::Set(SetChange::Add(json("7"))),
        Changes::Set(SetChange::Clear),
        Changes::Text(text(&[("ann", "one")])),
        Changes::Format(json("{}")),
    ]
    .into_iter()
    .enumerate()
    {
        let at = seq as u64 + 1;
        stores(&mut room, ANN, edit_of("ann", at, changes), at);
    }
    let mut again = Document::new();
    for delta in room.document().to_deltas(1_000) {
        assert_eq!(Delta::parse_data(&delta.data()).unwrap(), delta.changes);
        again.apply(&delta);
    }
    assert_eq!(again.collections(), room.document().collections());
    let bytes = Snapshot { position: room.position(), document: room.document().clone() };
    assert_eq!(Snapshot::decode(&bytes.encode().unwrap()).unwrap(), bytes);
}
