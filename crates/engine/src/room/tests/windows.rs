//! Awareness that changes often.

use super::*;
use crate::limits::AWARENESS_WINDOW_MS;

fn handle(room: &mut Room<&'static str>, input: Input<&'static str>) -> Vec<Effect> {
    let mut effects = Vec::new();
    room.handle(input, &mut effects);
    effects
}

fn shows(
    room: &mut Room<&'static str>,
    name: &str,
    state: Option<&str>,
    clock: u64,
) -> Vec<Effect> {
    let command = Command::AwarenessUpdate { client: client(name), state: state.map(json), clock };
    handle(room, Input::Command { session: ANN, handle: "h", command })
}

#[test]
fn of_what_changes_during_a_window_the_newest_is_sent_and_told_once() {
    let mut room = empty_room();
    room.watches(ANN);
    let opens = Effect::Open(Window::Awareness, AWARENESS_WINDOW_MS);
    let first = shows(&mut room, "ann", Some("{}"), 1);
    assert_eq!(first.last(), Some(&opens));
    assert_eq!(first.len(), 3, "published, shown, and a window opened");
    assert_eq!(shows(&mut room, "ann", Some("1"), 2), []);
    assert_eq!(shows(&mut room, "bob", Some("2"), 1), []);
    assert_eq!(shows(&mut room, "ann", Some("3"), 3), []);
    assert_eq!(shows(&mut room, "bob", None, 2), []);
    let entries = vec![(client("ann"), Some(json("3")), 3), (client("bob"), None, 2)];
    assert_eq!(
        handle(&mut room, Input::Over(Window::Awareness)),
        [
            Effect::Publish(PeerMessage::Awareness { is_repeated: false, entries }),
            Effect::BroadcastAwareness(awareness_of("ann", Some("3"), 3)),
            Effect::BroadcastAwareness(awareness_of("bob", None, 2)),
            opens,
        ]
    );
    assert!(!room.is_idle());
    assert_eq!(handle(&mut room, Input::Over(Window::Awareness)), []);
    assert_eq!(shows(&mut room, "ann", Some("4"), 4).len(), 3, "at once again");
}

#[test]
fn a_window_holds_no_more_changes_than_a_document_has_entries() {
    let mut room = empty_room();
    room.watches(ANN);
    shows(&mut room, "first", Some("{}"), 1);
    let mut changed = 0;
    let sent = loop {
        let name = format!("c{changed}");
        let mut effects = shows(&mut room, &name, Some("{}"), 1);
        effects.extend(shows(&mut room, &name, None, 2));
        changed += 1;
        if !effects.is_empty() {
            break effects;
        }
    };
    assert_eq!(changed, crate::limits::AWARENESS_ENTRIES_MAX + 1);
    let is_shown = |effect: &&Effect| matches!(effect, Effect::BroadcastAwareness(_));
    assert!(sent.iter().filter(is_shown).count() >= changed, "all that waited is sent");
}
