//! A snapshot as version 1 of the format wrote it. Databases hold such bytes, so every later
//! version must read them.
//!
//! Made by `UPDATE_FIXTURES=1 cargo test -p synckit-engine --test it snapshot_fixture`. Do that
//! only for a fixture of a new version, next to this one; the bytes of an old one never change.

use std::path::PathBuf;

use synckit_engine::clock::VectorClock;
use synckit_engine::delta::{Change, Changes, Delta, DeltaId};
use synckit_engine::document::Document;
use synckit_engine::ids::{ClientId, FieldName};
use synckit_engine::json::JsonText;
use synckit_engine::position::{Epoch, Position, Seq};
use synckit_engine::snapshot::Snapshot;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/snapshot-v1.bin")
}

fn delta(client: &str, counter: u64, timestamp: u64, changes: &[(&str, &str)]) -> Delta {
    let client = ClientId::new(client).unwrap();
    Delta {
        id: DeltaId::new(&format!("{client}-{counter}")),
        clock: VectorClock::dot(&client, counter),
        client,
        timestamp,
        changes: Changes::Fields(
            changes
                .iter()
                .map(|(field, json)| {
                    let value = Change::from_json(JsonText::parse(json).unwrap());
                    (FieldName::new(field).unwrap(), value)
                })
                .collect(),
        ),
    }
}

/// What the fixture holds: every kind of value and name, a deleted field, two writers.
fn content() -> Snapshot {
    let mut document = Document::new();
    for delta in [
        delta("client-a", 1, 1_700_000_000_000, &[("title", "\"Hello\""), ("", "null")]),
        delta("client-é", 7, 1_700_000_000_005, &[("__proto__", "1e400"), ("title", "\"日本\"")]),
        delta("client-a", 2, 1_700_000_000_001, &[("title", "\"lost\""), ("gone", "1")]),
        delta("client-a", 3, 1_700_000_000_010, &[("gone", r#"{"__deleted":true}"#)]),
        delta(
            "client-a",
            1 << 48,
            1_700_000_000_020,
            &[("odd", r#"{"b":1,"a":"\ud800\u0000","b":[1, 2.50]}"#)],
        ),
    ] {
        document.apply(&delta);
    }
    Snapshot { position: Position { epoch: Epoch(u64::MAX), seq: Seq(5) }, document }
}

#[test]
fn a_snapshot_of_version_1_loads() {
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(path(), content().encode().unwrap()).unwrap();
    }
    let stored = std::fs::read(path()).unwrap();
    assert_eq!(stored[..4], *b"SKS\x01");
    let loaded = Snapshot::decode(&stored).unwrap();
    assert_eq!(loaded, content());
    assert_eq!(loaded.document.stamp(), (1 << 48));
    assert_eq!(loaded.document.field("gone").unwrap().value, Change::Delete);
}

#[test]
fn this_program_still_writes_version_1_to_the_letter() {
    let stored = std::fs::read(path()).unwrap();
    assert_eq!(content().encode().unwrap(), stored);
}
