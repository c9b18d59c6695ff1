//! What holds for all inputs. A failure prints the smallest input that breaks the law, the seed,
//! and the command to repeat it.
//!
//! - [`merging`]: deltas, fields and the document stamp
//! - [`clocks`]: vector clocks and positions
//! - [`snapshots`]: the stored form of a document
//! - [`json`]: values and JSON texts, to the letter
//! - [`frames`]: whatever a client may send

mod clocks;
mod frames;
mod json;
mod merging;
mod snapshots;

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
