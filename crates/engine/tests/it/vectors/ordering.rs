//! The golden cases of which write wins, and of the document stamp.

use super::*;

#[derive(Debug, Deserialize)]
pub(super) struct Ordering {
    name: String,
    existing: Option<(u64, u64, String)>,
    #[serde(default)]
    existing_is_tombstone: bool,
    incoming: (u64, u64, String),
    winner: String,
}

fn key_of((timestamp, number, client): &(u64, u64, String)) -> WriteKey {
    WriteKey {
        timestamp: *timestamp,
        number: EditNumber(*number),
        client: ClientId::new(client).unwrap(),
    }
}

fn value(text: &str) -> Change {
    Change::Set(JsonText::parse(text).unwrap())
}

#[test]
fn the_newer_key_wins_as_in_the_golden_cases() {
    let cases = vectors().lww;
    assert_eq!(cases.len(), 8);
    let field = FieldName::new("x").unwrap();
    for case in cases {
        let mut document = Document::new();
        let existing = if case.existing_is_tombstone { Change::Delete } else { value("\"old\"") };
        if let Some(key) = &case.existing {
            document.apply_change(&field, &existing, &key_of(key));
        }
        let outcome = document.apply_change(&field, &value("\"new\""), &key_of(&case.incoming));
        let won = case.winner == "incoming";
        assert_eq!(outcome == Outcome::Won, won, "{}: {outcome:?}", case.name);
        let expected = if won { value("\"new\"") } else { existing };
        assert_eq!(document.field("x").unwrap().value, expected, "{}", case.name);
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct StampSequence {
    name: String,
    steps: Vec<StampStep>,
}

#[derive(Debug, Deserialize)]
struct StampStep {
    field: String,
    value: String,
    timestamp: u64,
    s: u64,
    client: String,
    won: bool,
    document_stamp_after: u64,
    broadcast_value: String,
}

#[test]
fn the_document_stamp_moves_as_in_the_golden_sequences() {
    let cases = vectors().document_stamp;
    assert_eq!(cases.len(), 4);
    for StampSequence { name, steps } in cases {
        let mut document = Document::new();
        for (at, step) in steps.iter().enumerate() {
            let client = ClientId::new(&step.client).unwrap();
            let written = value(&format!("{:?}", step.value));
            let delta = Delta {
                id: DeltaId::new(&format!("{name}-{at}")),
                number: EditNumber(step.s),
                client,
                timestamp: step.timestamp,
                changes: vec![(FieldName::new(&step.field).unwrap(), written.clone())].into(),
            };
            let held_before = document.field(&step.field).cloned();
            document.apply(&delta);
            let held = document.field(&step.field).unwrap();
            let won = held_before.as_ref() != Some(held);
            assert_eq!(won, step.won, "{name}, step {at}");
            assert_eq!(document.stamp(), step.document_stamp_after, "{name}, step {at}");
            let sent = value(&format!("{:?}", step.broadcast_value));
            assert_eq!(held.value, sent, "{name}, step {at}");
        }
    }
}
