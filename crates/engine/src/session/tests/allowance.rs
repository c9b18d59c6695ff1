//! How many messages a minute a connection may send.

use super::*;

fn at_most(messages_per_minute: u32) -> Subject {
    limited(Limits { messages_per_minute, ..Limits::default() })
}

fn is_over_limit(it: &mut Subject) -> bool {
    match &it.hears(&delta(r#","messageId":"m""#))[..] {
        [Effect::Forward { .. }] => false,
        [Effect::Reply(ServerMessage::Error(error))] => {
            assert_eq!(error.code, ErrorCode::RateLimitExceeded);
            assert_eq!(error.message_id.as_deref(), Some("m"));
            true
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn more_messages_a_minute_than_allowed_are_refused_until_time_passes() {
    let mut it = at_most(3);
    for _ in 0..3 {
        assert!(!is_over_limit(&mut it));
    }
    assert!(is_over_limit(&mut it));
    it.wait(19_999);
    assert!(is_over_limit(&mut it), "a third of a minute earns one message");
    it.wait(1);
    assert!(!is_over_limit(&mut it));
    assert!(is_over_limit(&mut it));
    it.wait(3_600_000);
    let sent = (0..10).take_while(|_| !is_over_limit(&mut it)).count();
    assert_eq!(sent, 3, "an hour of silence earns no more than a minute of it");
}

#[test]
fn trying_often_earns_as_much_as_waiting() {
    let mut it = at_most(7);
    while !is_over_limit(&mut it) {}
    let start = it.now.moment;
    let mut sent = 0;
    while it.now.moment < start.after(60_000) {
        it.wait(1);
        sent += u32::from(!is_over_limit(&mut it));
    }
    assert_eq!(sent, 7);
}

#[test]
fn a_clock_on_the_wall_that_steps_an_hour_either_way_earns_and_costs_nothing() {
    const HOUR: u64 = 3_600_000;
    for wall in [NOW - HOUR, NOW + HOUR] {
        let mut it = at_most(1);
        assert!(!is_over_limit(&mut it));
        it.now.wall = wall;
        assert!(is_over_limit(&mut it), "nothing was earned");
        it.wait(60_000);
        assert!(!is_over_limit(&mut it), "a minute is a minute");
    }
}

#[test]
fn what_changes_nothing_is_not_counted() {
    let mut it = at_most(1);
    assert!(!is_over_limit(&mut it));
    assert_eq!(it.hears(r#"{"type":"ping"}"#), pong());
    assert_eq!(it.hears(r#"{"type":"ack","messageId":"m"}"#), []);
    assert_eq!(it.hears(&subscribe("a")), [subscribed("a")]);
    let update =
        r#"{"type":"awareness_update","documentId":"a","clientId":"c","state":{},"clock":1}"#;
    refused_with(ErrorCode::RateLimitExceeded, &it.hears(update));
}
