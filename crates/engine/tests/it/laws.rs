//! What holds for all inputs. A failure prints the smallest input that breaks the law, the seed,
//! and the command to repeat it.

use std::collections::BTreeSet;
use std::fmt::Debug;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use synckit_engine::clock::{ClockOrder, EditNumber, VectorClock};
use synckit_engine::delta::{Change, Changes, Delta, DeltaId, WriteKey};
use synckit_engine::document::{Document, Outcome};
use synckit_engine::ids::{ClientId, DocumentId, FieldName, SessionId};
use synckit_engine::json::{JsonText, nests_too_deep, write_number, write_string};
use synckit_engine::limits::Limits;
use synckit_engine::position::{Arrival, Epoch, Position, Seq};
use synckit_engine::room::Command;
use synckit_engine::session::{Effect, Identity, Session};
use synckit_engine::snapshot::Snapshot;
use synckit_engine::wire::{
    ClientMessage, FrameKind, Framing, Incoming, Outgoing, ServerMessage, decode, encode,
};

use crate::random::seed;
use crate::vectors::frames_of_clients;

/// Tries `law` on inputs out of `inputs`.
pub(crate) fn holds<S>(name: &str, inputs: &S, law: impl Fn(S::Value) -> TestCaseResult)
where
    S: Strategy<Value: Debug>,
{
    let seed = seed();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { failure_persistence: None, ..Config::default() };
    if let Err(broken) = TestRunner::new_with_rng(config, random).run(inputs, law) {
        panic!("{broken}\nrepeat with: SEED={seed} cargo test -p synckit-engine --test it {name}");
    }
}

// Inputs.

fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

fn clients() -> impl Strategy<Value = ClientId> {
    // Some around the end of the Basic Multilingual Plane, where UTF-8 and UTF-16 order differ.
    select(vec!["ann", "bob", "client-é", "\u{ffff}", "\u{10000}", "zoe"]).prop_map(client)
}

fn field_names() -> impl Strategy<Value = FieldName> {
    prop_oneof![
        4 => select(vec!["title", "", "__proto__", "a.b", "日本", "quote\"\\\n"]).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| text.replace('\0', "").chars().take(100).collect()),
    ]
    .prop_map(|name| FieldName::new(&name).unwrap())
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => json_texts().prop_map(|text| Change::from_json(JsonText::parse(&text).unwrap())),
        1 => Just(Change::Delete),
    ]
}

/// Deltas of which no two have the same key, with few timestamps and fields, so that they meet.
fn deltas() -> impl Strategy<Value = Vec<Delta>> {
    let one = (clients(), 0_u64..4, btree_map(field_names(), changes(), 1..4));
    vec(one, 0..12).prop_map(|edits| {
        let number = |(at, (client, timestamp, changes)): (usize, (ClientId, u64, _))| Delta {
            id: DeltaId::new(&format!("d{at}")),
            number: EditNumber(1 + at as u64),
            client,
            timestamp,
            changes: Vec::from_iter(std::collections::BTreeMap::into_iter(changes)).into(),
        };
        edits.into_iter().enumerate().map(number).collect()
    })
}

fn document_of(deltas: &[Delta]) -> Document {
    let mut document = Document::new();
    for delta in deltas {
        document.apply(delta);
    }
    document
}

fn clocks() -> impl Strategy<Value = VectorClock> {
    btree_map(clients(), (0_u64..4).prop_map(EditNumber), 0..5)
        .prop_map(|entries| entries.into_iter().collect())
}

fn snapshots() -> impl Strategy<Value = Snapshot> {
    (deltas(), any::<u64>(), any::<u64>()).prop_map(|(deltas, epoch, seq)| Snapshot {
        position: Position { epoch: Epoch(epoch), seq: Seq(seq) },
        document: document_of(&deltas),
    })
}

/// Any JSON text, with what parsers like to change: escapes, lone surrogates, numbers beyond
/// every type, duplicate keys, white space inside.
fn json_texts() -> impl Strategy<Value = String> {
    let space = || select(vec!["", "", " ", "\n\t", "\r "]);
    let number = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        select(vec!["-0", "1.0", "2.50", "1e400", "-1E+9", "9007199254740993", "0.1e-999"])
            .prop_map(str::to_owned),
        "[1-9][0-9]{20,60}(\\.[0-9]{1,40})?",
    ];
    let leaf = prop_oneof![
        select(vec!["null", "true", "false", "{}", "[]", "[ ]"]).prop_map(str::to_owned),
        number,
        string_texts(),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let spaced = (space(), inner, space()).prop_map(|(a, text, b)| format!("{a}{text}{b}"));
        let key = prop_oneof![Just("\"a\"".to_owned()), string_texts()];
        let member = (space(), key, space(), spaced.clone())
            .prop_map(|(a, key, b, value)| format!("{a}{key}{b}:{value}"));
        prop_oneof![
            vec(spaced, 1..4).prop_map(|items| format!("[{}]", items.join(","))),
            vec(member, 1..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

fn string_texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[ -!#-\\[\\]-~é日😀\u{2028}\u{7f}]{0,8}",
        1 => select(vec![
            "\\\"", "\\\\", "\\/", "\\n", "\\u0000", "\\u00e9", "\\ud800", "\\uDC00", "\\ud83d\\ude00",
        ])
        .prop_map(str::to_owned),
    ];
    vec(part, 0..5).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

/// Frames from golden ones with a few bytes changed, cut or added, and bytes of no plan at all.
fn hostile_frames() -> impl Strategy<Value = (FrameKind, Vec<u8>)> {
    let kind = select(vec![FrameKind::Text, FrameKind::Binary]);
    let golden = (select(frames_of_clients()), vec((any::<Index>(), any::<u8>(), 0..6_u8), 0..4))
        .prop_map(|((kind, mut bytes), mutations)| {
            for (at, byte, how) in mutations {
                mutate(&mut bytes, at, byte, how);
            }
            (kind, bytes)
        });
    prop_oneof![
        4 => golden,
        1 => (kind.clone(), vec(any::<u8>(), 0..200)),
        1 => (kind, "\\PC{0,80}").prop_map(|(kind, text)| (kind, text.into_bytes())),
    ]
}

fn mutate(bytes: &mut Vec<u8>, at: Index, byte: u8, how: u8) {
    let at = at.index(bytes.len() + 1);
    match how {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, byte),
        // Bytes that mean something to a JSON parser, in the place of another.
        2 => {
            let meaning = b"{}[]\",:\\0-";
            bytes.get_mut(at).into_iter().for_each(|old| *old = meaning[usize::from(byte) % 10]);
        }
        3 => {
            bytes.splice(at.min(13)..at.min(13), bytes.clone());
        }
        _ => bytes.get_mut(at).into_iter().for_each(|old| *old = byte),
    }
}

// Merging.

#[test]
fn deltas_in_any_order_and_however_often_give_the_same_fields() {
    let shuffled = deltas().prop_flat_map(|deltas| {
        let repeats = vec(any::<Index>(), 0..6);
        (Just(deltas.clone()), Just(deltas).prop_shuffle(), repeats)
    });
    holds(
        "deltas_in_any_order_and_however_often_give_the_same_fields",
        &shuffled,
        |(deltas, mut shuffled, repeats)| {
            for at in repeats.into_iter().filter(|_| !deltas.is_empty()) {
                shuffled.push(at.get(&deltas).clone());
            }
            let [one, other] = [document_of(&deltas), document_of(&shuffled)];
            prop_assert!(one.fields().eq(other.fields()), "{one:?}\n{other:?}");
            prop_assert_eq!(one.clock(), other.clock());
            Ok(())
        },
    );
}

#[test]
fn a_field_holds_the_greatest_of_its_writes() {
    holds("a_field_holds_the_greatest_of_its_writes", &deltas(), |deltas| {
        let document = document_of(&deltas);
        for (name, field) in document.fields() {
            let writes = deltas
                .iter()
                .filter(|delta| delta.changes.fields().iter().any(|(to, _)| to == name));
            let newest = writes.max_by_key(|delta| delta.key()).unwrap();
            prop_assert_eq!(&field.key, &newest.key());
            let change = newest.changes.fields().iter().find(|(to, _)| to == name);
            prop_assert_eq!(Some(&field.value), change.map(|(_, change)| change));
        }
        Ok(())
    });
}

#[test]
fn the_document_stamp_passes_every_count_and_every_lost_one_by_one_more() {
    let writes = vec((field_names(), clients(), 0_u64..4, 0_u64..50), 0..20);
    holds(
        "the_document_stamp_passes_every_count_and_every_lost_one_by_one_more",
        &writes,
        |writes| {
            let mut document = Document::new();
            for (field, client, timestamp, number) in writes {
                let before = document.stamp();
                let key = WriteKey { timestamp, number: EditNumber(number), client };
                let outcome = document.apply_change(&field, &Change::Delete, &key);
                prop_assert!(document.stamp() > before);
                prop_assert!(document.stamp() >= number + u64::from(outcome != Outcome::Won));
            }
            Ok(())
        },
    );
}

// Clocks.

#[test]
fn clocks_are_partially_ordered() {
    holds("clocks_are_partially_ordered", &(clocks(), clocks(), clocks()), |(a, b, c)| {
        prop_assert_eq!(a.compare(&a), ClockOrder::Equal);
        prop_assert_eq!(a.compare(&b) == ClockOrder::Equal, a == b);
        let reversed = match b.compare(&a) {
            ClockOrder::Before => ClockOrder::After,
            ClockOrder::After => ClockOrder::Before,
            same => same,
        };
        prop_assert_eq!(a.compare(&b), reversed);
        prop_assert!(!(a <= b && b <= c) || a <= c);
        prop_assert_eq!(a.partial_cmp(&b).is_none(), a.compare(&b) == ClockOrder::Concurrent);
        Ok(())
    });
}

#[test]
fn the_merge_of_two_clocks_is_their_least_upper_bound() {
    holds(
        "the_merge_of_two_clocks_is_their_least_upper_bound",
        &(clocks(), clocks(), clocks()),
        |(a, b, bound)| {
            let merged = |first: &VectorClock, second: &VectorClock| {
                let mut merged = first.clone();
                merged.merge(second);
                merged
            };
            let both = merged(&a, &b);
            prop_assert!(both.covers(&a) && both.covers(&b));
            let is_bound = bound.covers(&a) && bound.covers(&b);
            prop_assert!(!is_bound || bound.covers(&both));
            prop_assert_eq!(&both, &merged(&b, &a));
            prop_assert_eq!(&merged(&both, &b), &both);
            prop_assert_eq!(merged(&both, &bound), merged(&a, &merged(&b, &bound)));
            Ok(())
        },
    );
}

// Positions.

#[test]
fn a_replica_that_follows_arrivals_sees_each_number_once_and_in_order() {
    let arrivals = vec((0_u64..3, 1_u64..20), 0..60);
    holds(
        "a_replica_that_follows_arrivals_sees_each_number_once_and_in_order",
        &arrivals,
        |arrivals| {
            let mut here = Position { epoch: Epoch(1), seq: Seq(0) };
            for (epoch, seq) in arrivals {
                match here.arrival(Epoch(epoch), Seq(seq)) {
                    Arrival::OtherEpoch => prop_assert_ne!(epoch, 1),
                    Arrival::Stale => prop_assert!(epoch == 1 && seq <= here.seq.0),
                    Arrival::Gap => prop_assert!(epoch == 1 && seq > here.seq.0 + 1),
                    Arrival::Next => {
                        prop_assert!(epoch == 1 && seq == here.seq.0 + 1);
                        here.seq = Seq(seq);
                    }
                }
            }
            Ok(())
        },
    );
}

// Snapshots.

#[test]
fn every_snapshot_reads_back_as_it_was() {
    holds("every_snapshot_reads_back_as_it_was", &snapshots(), |snapshot| {
        let bytes = snapshot.encode().unwrap();
        prop_assert_eq!(Snapshot::decode(&bytes).unwrap(), snapshot);
        Ok(())
    });
}

#[test]
fn a_snapshot_with_one_changed_byte_or_cut_short_is_refused() {
    holds(
        "a_snapshot_with_one_changed_byte_or_cut_short_is_refused",
        &(snapshots(), any::<Index>(), 1..=u8::MAX),
        |(snapshot, at, flip)| {
            let whole = snapshot.encode().unwrap();
            let at = at.index(whole.len());
            let mut changed = whole.clone();
            changed[at] ^= flip;
            prop_assert!(Snapshot::decode(&changed).is_err(), "byte {at} changed by {flip:#x}");
            prop_assert!(Snapshot::decode(&whole[..at]).is_err(), "cut at {at}");
            Ok(())
        },
    );
}

#[test]
fn bytes_of_no_plan_are_no_snapshot() {
    holds("bytes_of_no_plan_are_no_snapshot", &vec(any::<u8>(), 0..64), |mut bytes| {
        prop_assert!(Snapshot::decode(&bytes).is_err());
        bytes.splice(..0, *b"SKS\x01");
        prop_assert!(Snapshot::decode(&bytes).is_err());
        Ok(())
    });
}

// JSON texts and frames.

#[test]
fn a_value_goes_from_writer_to_store_to_reader_to_the_letter() {
    let input = (json_texts(), field_names(), any::<bool>());
    holds(
        "a_value_goes_from_writer_to_store_to_reader_to_the_letter",
        &input,
        |(text, field, in_json)| {
            prop_assume!(!nests_too_deep(text.as_bytes()));
            let (framing, frame) = delta_frame(&field, &text, in_json);
            let changes = changes_of(decode(framing, &frame).unwrap());
            prop_assert_eq!(&changes[0].0, &field);
            prop_assert_eq!(changes[0].1.as_json(), &text);

            let delta = Delta {
                id: DeltaId::new("d"),
                client: client("ann"),
                number: EditNumber(1),
                timestamp: 1,
                changes: changes.into(),
            };
            let stored = Delta::parse_data(&delta.data()).unwrap();
            prop_assert_eq!(&stored, &delta.changes);

            let mut sent = Vec::new();
            let (field, value) = stored.fields()[0].clone();
            let document = DocumentId::new("doc").unwrap();
            let clock = JsonText::parse("{\"server\":1}").unwrap();
            let message = ServerMessage::Delta { document, field, value, clock };
            encode(&message, framing, Outgoing { now: 1, serial: 1 }, &mut sent);
            let end =
                format!(",\"value\":{text},\"clock\":{{\"server\":1}},\"clientId\":\"server\"}}");
            prop_assert!(sent.ends_with(end.as_bytes()), "{}", String::from_utf8_lossy(&sent));
            Ok(())
        },
    );
}

fn delta_frame(field: &FieldName, value: &str, in_json: bool) -> (Framing, Vec<u8>) {
    let mut name = Vec::new();
    write_string(&mut name, field.as_str());
    let name = String::from_utf8(name).unwrap();
    let members = format!("\"documentId\":\"doc\",\"field\":{name},\"value\":{value}");
    if in_json {
        return (Framing::Json, format!("{{\"type\":\"delta\",{members}}}").into_bytes());
    }
    let payload = format!("{{{members}}}");
    let mut frame = vec![0x20];
    frame.extend_from_slice(&0_u64.to_be_bytes());
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(payload.as_bytes());
    (Framing::Binary, frame)
}

fn changes_of(incoming: Incoming) -> Vec<(FieldName, Change)> {
    match incoming.message {
        ClientMessage::Edit(edit) => match edit.operations.into_iter().next().unwrap().changes {
            Changes::Fields(changes) => changes,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_one_member_set_to_true_is_a_deletion() {
    let spaces = || select(vec!["", " ", "\n", "\t", "\r\n"]);
    let key = select(vec!["__deleted", "__ deleted", " __deleted", "__deleted ", "deleted"]);
    let value = select(vec!["true", "false", "1", "\"true\""]);
    holds(
        "only_the_one_member_set_to_true_is_a_deletion",
        &(spaces(), key, spaces(), value, spaces()),
        |(a, key, b, value, c)| {
            let text = format!("{{{a}\"{key}\"{b}:{c}{value}{a}}}");
            let change = Change::from_json(JsonText::parse(&text).unwrap());
            let deletes = key == "__deleted" && value == "true";
            prop_assert_eq!(change == Change::Delete, deletes, "{}", text);
            Ok(())
        },
    );
}

#[test]
fn every_string_written_reads_back() {
    holds("every_string_written_reads_back", &any::<String>(), |text| {
        let mut written = Vec::new();
        write_string(&mut written, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&written).unwrap(), text);
        Ok(())
    });
}

#[test]
fn every_number_written_reads_back() {
    let numbers = prop_oneof![any::<u64>(), 0..100_u64, select(vec![u64::MAX, 10_u64.pow(19)])];
    holds("every_number_written_reads_back", &numbers, |number| {
        let mut written = Vec::new();
        write_number(&mut written, number);
        prop_assert_eq!(written, number.to_string().into_bytes());
        Ok(())
    });
}

#[test]
fn the_decoder_answers_whatever_it_is_given() {
    holds("the_decoder_answers_whatever_it_is_given", &hostile_frames(), |(_, bytes)| {
        for framing in [Framing::Binary, Framing::Json] {
            if let Err(error) = decode(framing, &bytes) {
                let mut answer = Vec::new();
                let about = Outgoing { now: 1, serial: 1 };
                encode(&ServerMessage::Error(*error), Framing::Json, about, &mut answer);
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&answer).is_ok());
            }
        }
        Ok(())
    });
}

#[test]
fn a_session_keeps_its_promises_whatever_it_receives() {
    const NOW: u64 = 1_700_000_000_000;
    let input = (vec(hostile_frames(), 0..40), any::<bool>(), any::<Index>());
    holds(
        "a_session_keeps_its_promises_whatever_it_receives",
        &input,
        |(frames, open, authenticated_at)| {
            let anonymous = Identity::anonymous;
            let identity = open.then(anonymous);
            let limits = Limits { subscriptions_max: 3, ..Limits::default() };
            let mut session = Session::new(SessionId(1), client("conn-1"), identity, limits);
            let mut effects = Vec::new();
            let authenticated_at = authenticated_at.index(frames.len() + 1);
            for (at, (kind, bytes)) in frames.iter().enumerate() {
                if !open && at == authenticated_at {
                    let held = effects.iter().any(|it| matches!(it, Effect::Forward { .. }));
                    prop_assert!(!held, "forwarded before authentication: {effects:?}");
                    session.authenticated(NOW, Some(anonymous()), &mut effects);
                }
                session.receive(NOW, *kind, bytes, &mut effects);
                prop_assert_eq!(session.framing(), Framing::of(*kind, bytes));
            }
            check_forwarded(&effects, NOW + Limits::default().clock_skew_max_ms)
        },
    );
}

fn check_forwarded(effects: &[Effect], latest: u64) -> TestCaseResult {
    let mut documents = BTreeSet::new();
    for effect in effects {
        let Effect::Forward { document, command } = effect else { continue };
        match command {
            Command::Leave => documents.remove(document),
            _ => documents.insert(document),
        };
        prop_assert!(documents.len() <= 3, "more documents than allowed: {documents:?}");
        if let Command::Edit { drafts, .. } = command {
            prop_assert!(!drafts.is_empty());
            for draft in drafts {
                prop_assert!(draft.timestamp <= latest);
                let changes = draft.changes.fields();
                let fields: BTreeSet<_> = changes.iter().map(|(field, _)| field).collect();
                prop_assert_eq!(fields.len(), changes.len(), "a field twice in one draft");
            }
        }
    }
    Ok(())
}
