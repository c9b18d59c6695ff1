//! What a session makes of edits.

use super::*;

#[test]
fn an_edit_carries_client_number_time_and_changes() {
    let edit = delta(r#","clientId":"ann","clock":{"ann":3,"server":9},"timestamp":1699999999000"#);
    let drafts = anonymous().drafts_of(&edit);
    let field = FieldName::new("x").unwrap();
    let client = ClientId::new("ann").unwrap();
    let timestamp = 1_699_999_999_000;
    let changes = Changes::Fields(vec![(field, Change::Set(JsonText::parse("1").unwrap()))]);
    assert_eq!(
        drafts,
        [Draft {
            id: DeltaId::derive(&client, EditNumber(3), timestamp, &changes),
            client,
            number: Some(EditNumber(3)),
            timestamp,
            changes,
        }]
    );
}

#[test]
fn an_edit_is_acknowledged_under_its_message_id_else_its_id_else_a_new_one() {
    let mut it = anonymous();
    let mut acknowledged_as = |more: &str| match it.hears(&delta(more)).pop() {
        Some(Effect::Forward { command: Command::Edit { message_id, .. }, .. }) => message_id,
        other => panic!("{other:?}"),
    };
    assert_eq!(acknowledged_as(r#","id":"outer","messageId":"inner""#), "inner");
    assert_eq!(acknowledged_as(r#","id":"outer""#), "outer");
    assert_ne!(acknowledged_as(""), acknowledged_as(""));
}

#[test]
fn a_time_far_ahead_becomes_now_and_the_id_stays_that_of_the_write() {
    let mut it = anonymous();
    let skew = Limits::default().clock_skew_max_ms;
    let written_at = |timestamp: Millis| {
        delta(&format!(r#","clientId":"ann","clock":{{"ann":1}},"timestamp":{timestamp}"#))
    };
    assert_eq!(it.drafts_of(&written_at(NOW + skew))[0].timestamp, NOW + skew);

    let far_ahead = written_at(NOW + skew + 1_001);
    let first = it.drafts_of(&far_ahead).remove(0);
    assert_eq!(first.timestamp, NOW);
    it.wait(1_000);
    let retry = it.drafts_of(&far_ahead).remove(0);
    assert_eq!(retry.timestamp, NOW + 1_000);
    assert_eq!(retry.id, first.id);
    assert_ne!(it.drafts_of(&written_at(NOW + skew + 1_002))[0].id, first.id);
}

#[test]
fn a_write_without_a_time_takes_that_of_its_message_and_else_now() {
    let mut it = anonymous();
    it.wait(5);
    let payload = r#"{"documentId":"doc","field":"x","value":1}"#;
    let effects = it.hears_bytes(FrameKind::Binary, &binary(MessageType::Delta, payload));
    let Some(Effect::Forward { command: Command::Edit { drafts, .. }, .. }) = effects.first()
    else {
        panic!("{effects:?}")
    };
    assert_eq!(drafts[0].timestamp, NOW, "the header's");
    for absent in ["", r#","timestamp":0"#, r#","timestamp":1.5"#, r#","timestamp":-1"#] {
        assert_eq!(it.drafts_of(&delta(absent))[0].timestamp, NOW + 5, "{absent}");
    }
}

#[test]
fn ids_of_writes_without_a_count_never_repeat() {
    let mut it = anonymous();
    let mut ids = BTreeSet::new();
    for more in ["", "", r#","clientId":"ann""#, r#","clientId":"ann","clock":{"ann":0}"#] {
        let draft = it.drafts_of(&delta(&format!(r#","timestamp":7{more}"#))).remove(0);
        assert_eq!(draft.number, None);
        assert!(ids.insert(draft.id), "{more}");
    }
}

#[test]
fn a_write_without_a_client_gets_the_name_of_the_connection() {
    let mut it = anonymous();
    assert_eq!(it.drafts_of(&delta(""))[0].client.as_str(), "node-7-conn-1");
    assert_eq!(it.drafts_of(&delta(r#","clientId":"ann""#))[0].client.as_str(), "ann");
}

#[test]
fn one_unsupported_operation_refuses_the_whole_edit() {
    let batch = r#"{"type":"delta_batch","documentId":"doc","messageId":"m","deltas":[
        {"type":"set","field":"x","value":1},
        {"type":"tree","operation":"move","value":2}]}"#;
    let effects = anonymous().hears(batch);
    refused_with(ErrorCode::UnsupportedOperation, &effects);
    assert_eq!(the_error(&effects).message_id.as_deref(), Some("m"));
    assert!(the_error(&effects).reason.as_ref().unwrap().contains("tree"));
}

#[test]
fn a_batch_is_one_edit_of_as_many_drafts_as_operations() {
    let batch = |count: usize| {
        let operation = r#"{"type":"set","field":"x","value":1}"#;
        let operations = vec![operation; count].join(",");
        format!(r#"{{"type":"delta_batch","documentId":"doc","deltas":[{operations}]}}"#)
    };
    let mut it = anonymous();
    assert_eq!(it.drafts_of(&batch(BATCH_OPERATIONS_MAX)).len(), BATCH_OPERATIONS_MAX);
    refused_with(ErrorCode::InvalidOperation, &it.hears(&batch(BATCH_OPERATIONS_MAX + 1)));
    let effects = it.hears(&batch(0));
    let text = "Invalid delta batch: missing or empty deltas array";
    assert_eq!(the_error(&effects).text, Some(text));
}

#[test]
fn an_operation_for_another_document_is_refused() {
    let batch = r#"{"type":"delta_batch","documentId":"doc","deltas":[
        {"type":"set","documentId":"other","field":"x","value":1}]}"#;
    refused_with(ErrorCode::InvalidOperation, &anonymous().hears(batch));
}

#[test]
fn nobody_writes_under_the_name_of_the_server() {
    refused_with(
        ErrorCode::InvalidOperation,
        &anonymous().hears(&delta(r#","clientId":"server""#)),
    );
}
