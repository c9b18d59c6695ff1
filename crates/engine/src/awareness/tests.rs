//! What awareness promises.

use super::*;

fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

fn state(text: &str) -> JsonText {
    JsonText::parse(text).unwrap()
}

#[test]
fn an_owner_is_heard_in_the_order_of_its_clock() {
    let mut here = Awareness::default();
    let (owner, ann) = (SessionId(1), client("ann"));
    assert_eq!(here.update(owner, &ann, state("{}"), 2), Ok(2));
    assert_eq!(here.update(owner, &ann, state("{\"x\":1}"), 2), Err(Refused::Stale));
    assert_eq!(here.update(owner, &ann, state("{\"x\":1}"), 3), Ok(3));
    assert_eq!(here.remove(owner, &ann, 3), Err(Refused::Stale));
    assert_eq!(here.remove(owner, &ann, 4), Ok(Some(4)));
    assert_eq!(here.remove(owner, &ann, 5), Ok(None));
}

#[test]
fn another_connection_takes_a_client_over_and_outlives_the_first() {
    let mut here = Awareness::default();
    let ann = client("ann");
    here.update(SessionId(1), &ann, state("{}"), 9).unwrap();
    let shown = here.update(SessionId(2), &ann, state("{}"), 1);
    assert_eq!(shown, Ok(10), "newer than what the others know");
    assert_eq!(here.disconnect(SessionId(1)), vec![]);
    assert_eq!(here.disconnect(SessionId(2)), vec![(ann, None, 11)]);
    assert_eq!(here.entries().len(), 0);
}

#[test]
fn entries_are_bounded_per_connection_and_per_document() {
    let mut here = Awareness::default();
    for n in 0..AWARENESS_CLIENTS_PER_SESSION_MAX {
        here.update(SessionId(0), &client(&format!("c{n}")), state("{}"), 1).unwrap();
    }
    assert_eq!(
        here.update(SessionId(0), &client("more"), state("{}"), 1),
        Err(Refused::TooManyClients)
    );
    let present = here.entries().len();
    for n in present..AWARENESS_ENTRIES_MAX {
        let owner = SessionId(1 + n as u64);
        here.update(owner, &client(&format!("d{n}")), state("{}"), 1).unwrap();
    }
    assert_eq!(
        here.update(SessionId(9_999), &client("last"), state("{}"), 1),
        Err(Refused::TooManyEntries)
    );
}

fn node(name: &str) -> NodeId {
    NodeId::new(name)
}

#[test]
fn a_client_that_returns_in_time_was_never_gone() {
    let mut here = Awareness::default();
    let ann = client("ann");
    here.update(SessionId(1), &ann, state("{}"), 4).unwrap();
    here.abandon(SessionId(1), Moment(1_000));
    assert_eq!(here.next_expiry(), Some(Moment(1_000)));
    assert_eq!(here.expire(Moment(999)), vec![]);
    assert!(!here.hear(&node("b"), &ann, state("{}"), 4, changed(Moment(9_000))));
    assert_eq!(here.expire(Moment(5_000)), vec![], "it never went");
    assert_eq!(here.here().count(), 0, "it is the other node's now");
}

#[test]
fn a_client_that_stays_away_goes_when_its_time_is_over() {
    let mut here = Awareness::default();
    let (ann, ben) = (client("ann"), client("ben"));
    here.update(SessionId(1), &ann, state("{}"), 4).unwrap();
    here.hear(&node("b"), &ben, state("{}"), 7, repeated(Moment(9_000)));
    here.abandon(SessionId(1), Moment(1_000));
    here.abandon_node(&node("b"), Moment(2_000));
    assert_eq!(here.expire(Moment(1_000)), vec![(ann, None, 5)]);
    assert_eq!(here.expire(Moment(2_000)), vec![(ben, None, 8)]);
}

#[test]
fn a_repeated_entry_does_not_take_a_client_back_that_moved_on() {
    let mut here = Awareness::default();
    let ann = client("ann");
    here.update(SessionId(1), &ann, state("{}"), 4).unwrap();
    assert!(!here.hear(&node("b"), &ann, state("{\"old\":1}"), 4, repeated(Moment(9))));
    assert_eq!(here.here().count(), 1);
    assert!(here.hear(&node("b"), &ann, state("{\"new\":1}"), 1, changed(Moment(9))));
    assert_eq!(here.disconnect(SessionId(1)), vec![], "the first connection lost it");
    assert_eq!(here.hear_gone(&node("c"), &ann, 9), None, "only the node that speaks for it");
    assert_eq!(here.hear_gone(&node("b"), &ann, 2), Some((ann, None, 2)));
}

#[test]
fn a_connection_that_lives_counts_again_when_late_words_of_another_end() {
    let mut here = Awareness::default();
    let ann = client("ann");
    here.update(SessionId(1), &ann, state("{\"live\":1}"), 4).unwrap();
    // What the client said on another node before it came here.
    here.hear(&node("b"), &ann, state("{\"late\":1}"), 2, changed(Moment(9)));
    let back = Some((ann, Some(state("{\"live\":1}")), 4));
    assert_eq!(here.hear_gone(&node("b"), &client("ann"), 3), back);
    assert_eq!(here.here().count(), 1);
}

#[test]
fn what_a_node_does_not_repeat_in_time_is_gone() {
    let mut here = Awareness::default();
    let (ann, ben) = (client("ann"), client("ben"));
    here.hear(&node("b"), &ann, state("{}"), 1, repeated(Moment(100)));
    here.hear(&node("b"), &ben, state("{}"), 3, repeated(Moment(100)));
    here.hear(&node("b"), &ann, state("{}"), 1, repeated(Moment(200)));
    assert_eq!(here.expire(Moment(150)), vec![(ben, None, 4)]);
    assert_eq!(here.next_expiry(), Some(Moment(200)));
}

fn repeated(until: Moment) -> Heard {
    Heard { is_repeated: true, until }
}

fn changed(until: Moment) -> Heard {
    Heard { is_repeated: false, until }
}
