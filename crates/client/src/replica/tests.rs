use serde_json::{Value, json};

use super::*;
use crate::framing::MessageType;
use crate::message::json as raw;

const DOC: &str = "doc-1";

/// A replica, and the server's side of its conversation by hand.
struct Talk {
    replica: Replica,
    now: Instant,
}

impl Talk {
    fn new() -> Self {
        let mut replica = Replica::new("me");
        replica.open(DOC);
        Self { replica, now: Instant::now() }
    }

    /// Connected, and the document is there.
    fn synchronised(state: &Value, stamp: u64) -> Self {
        let mut talk = Self::new();
        talk.replica.connected();
        assert_eq!(talk.said(), ["subscribe"]);
        talk.hears_state(state, stamp);
        talk
    }

    fn set(&mut self, field: &str, value: &Value) -> u64 {
        self.replica.set(DOC, field, Some(raw(value).unwrap()), 1_000).unwrap().number
    }

    fn hears(&mut self, kind: MessageType, message: &Value) {
        let message = ServerMessage::decode(kind, message.to_string().as_bytes()).unwrap();
        self.replica.receive(message.unwrap(), self.now);
    }

    fn hears_state(&mut self, state: &Value, stamp: u64) {
        let response = json!({ "requestId": "", "documentId": DOC, "state": state, "deltas": [],
            "clock": { "server": stamp } });
        self.hears(MessageType::SyncResponse, &response);
    }

    fn hears_delta(&mut self, field: &str, value: &Value, stamp: u64) {
        let delta = json!({ "documentId": DOC, "field": field, "value": value,
            "clock": { "server": stamp }, "clientId": "server" });
        self.hears(MessageType::Delta, &delta);
    }

    fn hears_ack(&mut self, message_id: &Value) {
        self.hears(MessageType::Ack, &json!({ "messageId": message_id }));
    }

    fn hears_error(&mut self, code: &str, message_id: &Value) {
        let details = json!({ "code": code, "documentId": DOC, "messageId": message_id });
        self.hears(MessageType::Error, &json!({ "error": "no", "details": details }));
    }

    /// All that is said now, with its members.
    fn says(&mut self) -> Vec<Value> {
        let next = || self.replica.next_message(self.now);
        let member = |outgoing: Outgoing| {
            let text = outgoing.message.text(0, outgoing.id.as_deref()).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        std::iter::from_fn(next).map(member).collect()
    }

    /// The types of all that is said now.
    fn said(&mut self) -> Vec<String> {
        let types = self.says().into_iter().map(|message| message["type"].clone());
        types.map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    fn shows(&self) -> Value {
        serde_json::to_value(self.replica.fields(DOC)).unwrap()
    }
}

#[test]
fn an_edit_shows_at_once_and_stays_until_the_server_shows_the_field() {
    let mut talk = Talk::synchronised(&json!({ "title": "old" }), 4);
    talk.set("title", &json!("mine"));
    assert_eq!(talk.shows(), json!({ "title": "mine" }));
    let said = talk.says();
    talk.hears_ack(&said[0]["messageId"]);
    assert_eq!(talk.shows(), json!({ "title": "mine" }), "the acknowledgement comes first");
    talk.hears_delta("title", &json!("somebody's, who was later"), 6);
    assert_eq!(talk.shows(), json!({ "title": "somebody's, who was later" }));
}

#[test]
fn numbers_rise_above_the_last_and_above_what_was_shown() {
    let mut talk = Talk::synchronised(&json!({}), 4);
    assert_eq!(talk.set("a", &json!(1)), 5);
    assert_eq!(talk.set("a", &json!(2)), 6);
    talk.hears_delta("b", &json!(1), 40);
    assert_eq!(talk.set("a", &json!(3)), 41);
    talk.hears_state(&json!({}), 0);
    assert_eq!(talk.set("a", &json!(4)), 42, "the server may begin anew, the client does not");
}

#[test]
fn the_clock_of_the_server_is_what_its_greatest_entry_says() {
    let mut talk = Talk::synchronised(&json!({}), 1);
    let delta = json!({ "documentId": DOC, "field": "a", "value": 1, "clientId": "server",
        "clock": { "server": 7, "me": 9 } });
    talk.hears(MessageType::Delta, &delta);
    assert_eq!(talk.set("a", &json!(2)), 10);
}

#[test]
fn a_deletion_removes_the_field_whoever_makes_it() {
    let mut talk = Talk::synchronised(&json!({ "a": 1, "b": 2 }), 1);
    talk.replica.set(DOC, "a", None, 1_000).unwrap();
    assert_eq!(talk.shows(), json!({ "b": 2 }));
    assert_eq!(talk.says()[0]["value"], json!({ "__deleted": true }));
    talk.hears_delta("b", &json!({ "__deleted": true }), 2);
    assert_eq!(talk.shows(), json!({}));
}

#[test]
fn edits_are_sent_again_after_a_reconnect_as_they_were_and_in_order() {
    let mut talk = Talk::synchronised(&json!({}), 0);
    talk.set("a", &json!(1));
    let first = talk.says();
    talk.set("b", &json!(2));
    talk.set("c", &json!(3));
    let second = talk.says();
    assert_eq!(second[0]["deltas"].as_array().map(Vec::len), Some(2), "what came meanwhile");
    talk.replica.disconnected();
    talk.set("d", &json!(4));
    assert!(talk.says().is_empty(), "there is nobody to hear it");
    talk.replica.connected();
    let again = talk.says();
    assert_eq!(again[0]["type"], "subscribe");
    assert_eq!(again[1..3], [first, second].concat());
    assert_eq!(again[3]["field"], "d");
    for message in &again[1..] {
        talk.hears_ack(&message["messageId"]);
    }
    assert_eq!(talk.replica.queued(), 0);
    assert_eq!(talk.replica.take_outcomes().len(), 4);
}

#[test]
fn own_edits_stay_on_top_of_a_new_state_until_they_are_stored() {
    let mut talk = Talk::synchronised(&json!({ "a": 0 }), 1);
    talk.set("a", &json!(1));
    let said = talk.says();
    talk.replica.disconnected();
    talk.replica.connected();
    talk.hears_state(&json!({ "a": 0, "b": 0 }), 2);
    assert_eq!(talk.shows(), json!({ "a": 1, "b": 0 }));
    talk.hears_ack(&said[0]["messageId"]);
    talk.hears_state(&json!({ "a": 5 }), 3);
    assert_eq!(talk.shows(), json!({ "a": 5 }), "what is stored is in the state, or lost to it");
}

#[test]
fn at_most_so_many_messages_are_unanswered() {
    let mut talk = Talk::synchronised(&json!({}), 0);
    let mut said = Vec::new();
    for number in 0..100 {
        talk.set("a", &json!(number));
        said.extend(talk.says());
    }
    assert_eq!(said.len(), 32);
    talk.hears_ack(&said[0]["messageId"]);
    let next = talk.says();
    assert_eq!(next.len(), 1);
    assert_eq!(next[0]["deltas"].as_array().map(Vec::len), Some(50));
}

#[test]
fn what_the_store_cannot_take_now_is_sent_again_after_pauses_that_double() {
    let mut talk = Talk::synchronised(&json!({}), 0);
    talk.set("a", &json!(1));
    let first = talk.says();
    for pause in [1, 2, 4] {
        talk.hears_error("STORAGE_UNAVAILABLE", &first[0]["messageId"]);
        assert!(talk.says().is_empty());
        let wake_at = talk.replica.wake_at().unwrap();
        assert_eq!(wake_at - talk.now, Duration::from_secs(pause));
        talk.now = wake_at;
        assert_eq!(talk.says(), first);
    }
    talk.hears_ack(&first[0]["messageId"]);
    assert!(talk.replica.take_outcomes()[0].result.is_ok());
}

#[test]
fn a_document_that_cannot_be_loaded_now_is_asked_for_again() {
    let mut talk = Talk::new();
    talk.replica.connected();
    let said = talk.says();
    talk.hears_error("STORAGE_UNAVAILABLE", &said[0]["id"]);
    talk.now += Duration::from_secs(1);
    assert_eq!(talk.said(), ["subscribe"]);
}

#[test]
fn a_refused_edit_is_reported_and_shown_no_more() {
    let mut talk = Talk::synchronised(&json!({ "a": 0 }), 1);
    talk.set("a", &json!(1));
    let first = talk.says();
    talk.set("a", &json!(2));
    let second = talk.says();
    talk.hears_error("PERMISSION_DENIED", &second[0]["messageId"]);
    assert_eq!(talk.shows(), json!({ "a": 1 }), "the one before is still queued");
    talk.hears_error("PERMISSION_DENIED", &first[0]["messageId"]);
    assert_eq!(talk.shows(), json!({ "a": 0 }));
    let refusal = Refusal { code: "PERMISSION_DENIED".to_owned(), reason: "no".to_owned() };
    let numbers = [3, 2].map(|number| EditNumber { document: DOC.to_owned(), number });
    let outcomes = numbers.map(|edit| Outcome { edit, result: Err(refusal.clone()) });
    assert_eq!(talk.replica.take_outcomes(), outcomes);
    assert_eq!(talk.replica.queued(), 0);
}

#[test]
fn an_edit_that_is_refused_takes_none_of_its_batch_with_it() {
    let mut talk = Talk::synchronised(&json!({}), 0);
    for (field, value) in [("a", 1), ("b", 2), ("c", 3)] {
        talk.set(field, &json!(value));
    }
    let batch = talk.says();
    assert_eq!(batch.len(), 1);
    talk.hears_error("INVALID_OPERATION", &batch[0]["messageId"]);
    let alone = talk.says();
    let again: Vec<_> = batch[0]["deltas"].as_array().unwrap().iter().map(key).collect();
    assert_eq!(Vec::from_iter(alone.iter().map(key)), again, "each is the same edit as before");
    talk.hears_ack(&alone[0]["messageId"]);
    talk.hears_error("INVALID_OPERATION", &alone[1]["messageId"]);
    talk.hears_ack(&alone[2]["messageId"]);
    let outcomes = talk.replica.take_outcomes().into_iter();
    assert_eq!(Vec::from_iter(outcomes.map(|outcome| outcome.result.is_ok())), [true, false, true]);
    assert_eq!((talk.shows(), talk.replica.queued()), (json!({ "a": 1, "c": 3 }), 0));
}

/// What makes two edits the same.
fn key(operation: &Value) -> [&Value; 4] {
    ["field", "clientId", "clock", "timestamp"].map(|name| &operation[name])
}

#[test]
fn a_document_that_is_refused_says_why() {
    let mut talk = Talk::new();
    talk.replica.connected();
    let said = talk.says();
    talk.hears_error("PERMISSION_DENIED", &said[0]["id"]);
    assert!(matches!(talk.replica.standing(DOC), Standing::Refused(_)));
    assert!(talk.says().is_empty());
}

#[test]
fn a_queue_that_is_full_takes_no_more() {
    let mut talk = Talk::new();
    let long = raw(&"x".repeat(1 << 20)).unwrap();
    let made = (0..100).take_while(|_| talk.replica.set(DOC, "a", Some(long.clone()), 1).is_ok());
    assert_eq!(made.count(), 63);
    assert!(talk.replica.set(DOC, "a", Some(long), 1).is_err());
    assert!(talk.replica.set(DOC, "a", None, 1).is_ok(), "a short one has room");
}

#[test]
fn a_document_that_was_left_is_not_asked_for_again() {
    let mut talk = Talk::synchronised(&json!({}), 0);
    talk.replica.leave(DOC);
    assert_eq!(talk.said(), ["unsubscribe"]);
    talk.replica.disconnected();
    talk.replica.connected();
    assert!(talk.says().is_empty());
}

#[test]
fn own_awareness_is_sent_at_most_every_100_ms_the_newest_last() {
    let mut talk = Talk::synchronised(&json!({}), 0);
    let state = |at: u64| Some(raw(&json!({ "cursor": at })).unwrap());
    talk.replica.set_awareness(DOC, state(1));
    let said = talk.says();
    assert_eq!(said[0]["type"], "awareness_subscribe");
    assert_eq!((&said[1]["state"]["cursor"], &said[1]["clock"]), (&json!(1), &json!(1)));
    talk.replica.set_awareness(DOC, state(2));
    talk.replica.set_awareness(DOC, state(3));
    assert!(talk.says().is_empty());
    talk.now = talk.replica.wake_at().unwrap();
    let said = talk.says();
    assert_eq!((&said[0]["state"]["cursor"], &said[0]["clock"]), (&json!(3), &json!(2)));
}

#[test]
fn own_awareness_that_came_too_soon_is_said_again_unless_it_is_old_by_then() {
    let mut talk = Talk::synchronised(&json!({}), 0);
    let state = |at: u64| Some(raw(&json!({ "cursor": at })).unwrap());
    talk.replica.set_awareness(DOC, state(1));
    let said = talk.says();
    talk.hears_error("RATE_LIMIT_EXCEEDED", &said[1]["id"]);
    assert!(talk.says().is_empty());
    talk.now = talk.replica.wake_at().unwrap();
    let again = talk.says();
    assert_eq!(again[0]["state"]["cursor"], 1);
    talk.hears_error("RATE_LIMIT_EXCEEDED", &again[0]["id"]);
    talk.replica.set_awareness(DOC, state(2));
    talk.now = talk.replica.wake_at().unwrap();
    let said = talk.says();
    assert_eq!(said.len(), 1);
    assert_eq!((&said[0]["state"]["cursor"], &said[0]["clock"]), (&json!(2), &json!(3)));
}

#[test]
fn own_awareness_is_said_again_after_a_reconnect_with_a_greater_clock() {
    let mut talk = Talk::synchronised(&json!({}), 0);
    talk.replica.set_awareness(DOC, Some(raw(&json!({})).unwrap()));
    talk.says();
    talk.replica.disconnected();
    talk.replica.connected();
    let said = talk.says();
    let types: Vec<_> = said.iter().map(|message| &message["type"]).collect();
    assert_eq!(types, ["subscribe", "awareness_subscribe", "awareness_update"]);
    assert_eq!(said[2]["clock"], 2);
}

#[test]
fn others_are_taken_as_they_come_and_a_whole_state_replaces_them() {
    let mut talk = Talk::synchronised(&json!({}), 0);
    let update =
        |state: Value| json!({ "documentId": DOC, "clientId": "bob", "state": state, "clock": 1 });
    let others = |talk: &Talk| Vec::from_iter(talk.replica.awareness(DOC).into_keys());
    talk.hears(MessageType::AwarenessUpdate, &update(json!({ "name": "Bob" })));
    assert_eq!(others(&talk), ["bob"]);
    talk.hears(MessageType::AwarenessUpdate, &update(Value::Null));
    assert!(others(&talk).is_empty());
    talk.hears(MessageType::AwarenessUpdate, &update(json!({ "name": "Bob" })));
    let states = json!([{ "clientId": "eve", "state": {}, "clock": 1 }]);
    let state = json!({ "documentId": DOC, "states": states });
    talk.hears(MessageType::AwarenessState, &state);
    assert_eq!(others(&talk), ["eve"]);
}
