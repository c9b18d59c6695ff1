//! Connections that read too slowly.

use super::*;
use crate::limits::LAG_FIELDS_MAX;

fn sent(effects: Vec<Effect>) -> Vec<ServerMessage> {
    let sent = effects.into_iter().map(|effect| match effect {
        Effect::Send(BOB, message) => message,
        other => panic!("{other:?}"),
    });
    sent.collect()
}

#[test]
fn who_has_caught_up_gets_the_present_value_of_what_it_missed_once() {
    let mut room = empty_room();
    room.subscribes(BOB);
    for (seq, to) in [(1, "x"), (2, "y"), (3, "x")] {
        let effects = room.stores(ANN, ("ann", seq, 10 + seq, to, "1"), seq);
        let missed = broadcasts(&effects);
        assert!(!missed.is_empty());
        if to == "x" {
            assert!(missed.iter().all(|message| room.miss(BOB, message)));
        }
    }
    let clock = r#"{"server":3,"ann":3}"#;
    assert_eq!(sent(room.wants(BOB, Command::CatchUp)), [value_of("x", "1", clock)]);
    assert_eq!(sent(room.wants(BOB, Command::CatchUp)), [], "nothing is left");
}

#[test]
fn who_missed_more_fields_than_are_noted_gets_all_of_them() {
    let mut room = empty_room();
    room.subscribes(BOB);
    room.stores(ANN, ("ann", 1, 10, "never missed", "1"), 1);
    for number in 0..=LAG_FIELDS_MAX {
        assert!(room.miss(BOB, &value_of(&number.to_string(), "1", "{}")));
    }
    let clock = r#"{"server":1,"ann":1}"#;
    let all = [value_of("never missed", "1", clock)];
    assert_eq!(sent(room.wants(BOB, Command::CatchUp)), all);
}

#[test]
fn missed_awareness_is_told_as_it_is_and_who_is_gone_as_gone() {
    let mut room = empty_room();
    room.watches(BOB);
    room.shows(ANN, "ann", Some("1"), 5);
    for missed in [awareness_of("ann", Some("0"), 4), awareness_of("carl", Some("0"), 7)] {
        assert!(room.miss(BOB, &missed));
    }
    let shown = [awareness_of("ann", Some("1"), 5), awareness_of("carl", None, 7)];
    assert_eq!(sent(room.wants(BOB, Command::CatchUp)), shown);
}

#[test]
fn nothing_is_noted_for_who_left_and_what_only_it_was_told_must_be_sent() {
    let mut room = empty_room();
    room.subscribes(BOB);
    assert!(!room.miss(BOB, &ack()));
    assert!(room.miss(BOB, &value_of("x", "1", "{}")));
    room.wants(BOB, Command::Leave);
    assert!(!room.miss(BOB, &value_of("x", "1", "{}")));
    room.subscribes(BOB);
    assert_eq!(sent(room.wants(BOB, Command::CatchUp)), []);
}
