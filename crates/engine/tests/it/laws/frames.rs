//! Frames that a hostile or broken client sends.

use synckit_engine::time::{Moment, Now};

use super::*;
use crate::vectors::frames_of_clients;

/// Frames from golden ones with a few bytes changed, cut or added, and bytes of no plan at all.
fn hostile_frames() -> impl Strategy<Value = (FrameKind, Vec<u8>)> {
    let kind = select(vec![FrameKind::Text, FrameKind::Binary]);
    let golden = (select(frames_of_clients()), vec((any::<Index>(), any::<u8>(), 0..6_u8), 0..4))
        .prop_map(|((kind, mut bytes), mutations)| {
            for (at, byte, how) in mutations {
                mutate(&mut bytes, at, byte, how);
            }
            (kind, bytes)
        });
    prop_oneof![
        4 => golden,
        1 => (kind.clone(), vec(any::<u8>(), 0..200)),
        1 => (kind, "\\PC{0,80}").prop_map(|(kind, text)| (kind, text.into_bytes())),
    ]
}

fn mutate(bytes: &mut Vec<u8>, at: Index, byte: u8, how: u8) {
    let at = at.index(bytes.len() + 1);
    match how {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, byte),
        // Bytes that mean something to a JSON parser, in the place of another.
        2 => {
            let meaning = b"{}[]\",:\\0-";
            bytes.get_mut(at).into_iter().for_each(|old| *old = meaning[usize::from(byte) % 10]);
        }
        3 => {
            bytes.splice(at.min(13)..at.min(13), bytes.clone());
        }
        _ => bytes.get_mut(at).into_iter().for_each(|old| *old = byte),
    }
}

#[test]
fn the_decoder_answers_whatever_it_is_given() {
    holds("the_decoder_answers_whatever_it_is_given", &hostile_frames(), |(_, bytes)| {
        for framing in [Framing::Binary, Framing::Json] {
            if let Err(error) = decode(framing, &bytes) {
                let mut answer = Vec::new();
                let about = Outgoing { now: 1, serial: 1 };
                encode(&ServerMessage::Error(*error), Framing::Json, about, &mut answer);
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&answer).is_ok());
            }
        }
        Ok(())
    });
}

#[test]
fn a_session_keeps_its_promises_whatever_it_receives() {
    const NOW: u64 = 1_700_000_000_000;
    let input = (vec(hostile_frames(), 0..40), any::<bool>(), any::<Index>());
    holds(
        "a_session_keeps_its_promises_whatever_it_receives",
        &input,
        |(frames, open, authenticated_at)| {
            let anonymous = Identity::anonymous;
            let identity = open.then(anonymous);
            let limits = Limits { subscriptions_max: 3, ..Limits::default() };
            let mut session = Session::new(SessionId(1), client("conn-1"), identity, limits);
            let now = Now { wall: NOW, moment: Moment(0) };
            let mut effects = Vec::new();
            let authenticated_at = authenticated_at.index(frames.len() + 1);
            for (at, (kind, bytes)) in frames.iter().enumerate() {
                if !open && at == authenticated_at {
                    let held = effects.iter().any(|it| matches!(it, Effect::Forward { .. }));
                    prop_assert!(!held, "forwarded before authentication: {effects:?}");
                    session.authenticated(now, Some(anonymous()), &mut effects);
                }
                session.receive(now, *kind, bytes, &mut effects);
                prop_assert_eq!(session.framing(), Framing::of(*kind, bytes));
            }
            check_forwarded(&effects, NOW + Limits::default().clock_skew_max_ms)
        },
    );
}

fn check_forwarded(effects: &[Effect], latest: u64) -> TestCaseResult {
    let mut documents = BTreeSet::new();
    for effect in effects {
        let Effect::Forward { document, command } = effect else { continue };
        match command {
            Command::Leave => documents.remove(document),
            _ => documents.insert(document),
        };
        prop_assert!(documents.len() <= 3, "more documents than allowed: {documents:?}");
        if let Command::Edit { drafts, .. } = command {
            prop_assert!(!drafts.is_empty());
            for draft in drafts {
                prop_assert!(draft.timestamp <= latest);
                let changes = draft.changes.fields();
                let fields: BTreeSet<_> = changes.iter().map(|(field, _)| field).collect();
                prop_assert_eq!(fields.len(), changes.len(), "a field twice in one draft");
            }
        }
    }
    Ok(())
}
