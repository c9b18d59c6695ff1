//! Values and JSON texts, which go from writer to reader to the letter.

use super::*;

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
