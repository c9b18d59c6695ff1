//! Snapshots as versions 1 and 2 of the format wrote them. Databases hold such bytes, so every
//! later version must read them.
//!
//! Made by `UPDATE_FIXTURES=1 cargo test -p synckit-engine --test it snapshot_fixture`. Do that
//! only for a fixture of a new version, next to this one; the bytes of an old one never change.

use std::path::PathBuf;

use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Change, Changes, Delta, DeltaId, SetChange, WriteKey};
use synckit_engine::document::Document;
use synckit_engine::ids::{ClientId, FieldName};
use synckit_engine::json::JsonText;
use synckit_engine::position::{Epoch, Position, Seq};
use synckit_engine::snapshot::Snapshot;
use synckit_engine::text::TextState;

fn path(version: u8) -> PathBuf {
    let name = format!("tests/fixtures/snapshot-v{version}.bin");
    // Not as it was when this was built: checkouts may share a target folder.
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join(name)
}

fn delta(client: &str, number: u64, timestamp: u64, changes: &[(&str, &str)]) -> Delta {
    let client = ClientId::new(client).unwrap();
    Delta {
        id: DeltaId::new(&format!("{client}-{number}")),
        number: EditNumber(number),
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

/// The same and what else a document may hold.
fn content_of_version_2() -> Snapshot {
    let mut snapshot = content();
    let json = |text: &str| JsonText::parse(text).unwrap();
    let text = TextState::parse(
        r#"{"blocks":[[{"client_id":"client-é","clock":3,"offset":0},{"id":{"client_id":"client-é",
        "clock":3,"offset":0},"text":"日本e\u0301","left_origin":{"client_id":"a","clock":1,"offset":0},
        "right_origin":null,"deleted":true}]],"clock":{"value":9},"client_id":"client-é"}"#,
    );
    let changes = [
        Changes::Text(text.unwrap()),
        Changes::Count(-7),
        Changes::Set(SetChange::Clear),
        Changes::Set(SetChange::Add(json("1e400"))),
        Changes::Set(SetChange::Remove(json("null"))),
        Changes::Format(json(r#"{"type":"richtext"}"#)),
    ];
    for (number, changes) in (4..).zip(changes) {
        let client = ClientId::new("client-a").unwrap();
        let key =
            WriteKey { timestamp: 1_700_000_000_000 + number, number: EditNumber(number), client };
        snapshot.document.apply(&Delta::of(&key, changes));
        snapshot.position.seq = snapshot.position.seq.next();
    }
    snapshot
}

fn stored(version: u8, content: &Snapshot) -> Vec<u8> {
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        std::fs::write(path(version), content.encode().unwrap()).unwrap();
    }
    let stored = std::fs::read(path(version)).unwrap();
    assert_eq!(stored[..4], [b'S', b'K', b'S', version]);
    stored
}

#[test]
fn a_snapshot_of_version_1_loads() {
    let loaded = Snapshot::decode(&stored(1, &content())).unwrap();
    assert_eq!(loaded, content());
    assert_eq!(loaded.document.stamp(), (1 << 48));
    assert_eq!(loaded.document.field("gone").unwrap().value, Change::Delete);
}

#[test]
fn a_snapshot_of_version_2_loads() {
    let loaded = Snapshot::decode(&stored(2, &content_of_version_2())).unwrap();
    assert_eq!(loaded, content_of_version_2());
    assert_eq!(loaded.document.collections().counter().total(), -7);
    assert_eq!(loaded.document.collections().set().elements().count(), 1);
}

#[test]
fn this_program_still_writes_both_versions_to_the_letter() {
    assert_eq!(content().encode().unwrap(), std::fs::read(path(1)).unwrap());
    assert_eq!(content_of_version_2().encode().unwrap(), std::fs::read(path(2)).unwrap());
}
