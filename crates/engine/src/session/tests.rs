//! What a session promises, one promise a test.
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod allowance;
mod authentication;
mod chunks;
mod documents;
mod edits;
mod frames;
mod permissions;

use super::*;
use crate::clock::EditNumber;
use crate::delta::{Change, Changes};
use crate::ids::FieldName;
use crate::json::JsonText;
use crate::limits::{BATCH_OPERATIONS_MAX, EDIT_NUMBER_MAX};
use crate::time::Moment;
use crate::wire::MessageType;

const NOW: Millis = 1_700_000_000_000;

/// A session with everything it did so far.
struct Subject {
    session: Session,
    now: Now,
    effects: Vec<Effect>,
}

fn identity(can_read: &[&str], can_write: &[&str]) -> Identity {
    let owned = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
    let permissions =
        Permissions { can_read: owned(can_read), can_write: owned(can_write), is_admin: false };
    Identity { user: "ann".to_owned(), permissions }
}

fn session(identity: Option<Identity>, limits: Limits) -> Subject {
    let name = ClientId::new("node-7-conn-1").unwrap();
    let session = Session::new(SessionId(1), name, identity, limits);
    Subject { session, now: Now { wall: NOW, moment: Moment(7) }, effects: Vec::new() }
}

/// Where authentication is off.
fn anonymous() -> Subject {
    session(Some(Identity::anonymous()), Limits::default())
}

fn limited(limits: Limits) -> Subject {
    session(Some(Identity::anonymous()), limits)
}

fn unauthenticated() -> Subject {
    session(None, Limits::default())
}

fn allowed(can_read: &[&str], can_write: &[&str]) -> Subject {
    session(Some(identity(can_read, can_write)), Limits::default())
}

impl Subject {
    /// Lets time pass, on both clocks.
    fn wait(&mut self, ms: u64) {
        self.now = Now { wall: self.now.wall + ms, moment: self.now.moment.after(ms) };
    }

    /// Receives JSON text and gives what that led to.
    fn hears(&mut self, text: &str) -> Vec<Effect> {
        self.hears_bytes(FrameKind::Text, text.as_bytes())
    }

    fn hears_bytes(&mut self, kind: FrameKind, bytes: &[u8]) -> Vec<Effect> {
        self.session.receive(self.now, kind, bytes, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    fn authenticated(&mut self, identity: Option<Identity>) -> Vec<Effect> {
        self.session.authenticated(self.now, identity, &mut self.effects);
        std::mem::take(&mut self.effects)
    }

    /// Hears an edit and gives its drafts.
    fn drafts_of(&mut self, text: &str) -> Vec<Draft> {
        match self.hears(text).pop() {
            Some(Effect::Forward { command: Command::Edit { drafts, .. }, .. }) => drafts,
            other => panic!("not forwarded as an edit: {other:?}"),
        }
    }
}

fn subscribe(document: &str) -> String {
    format!(r#"{{"type":"subscribe","id":"s-{document}","documentId":"{document}"}}"#)
}

fn subscribed(document: &str) -> Effect {
    let request_id = format!("s-{document}");
    forwarded(document, Command::Subscribe { request_id, replay: true })
}

fn forwarded(document: &str, command: Command) -> Effect {
    Effect::Forward { document: DocumentId::new(document).unwrap(), command }
}

/// A write of field `x`, with more members after those it always has.
fn delta(more: &str) -> String {
    format!(r#"{{"type":"delta","documentId":"doc","field":"x","value":1{more}}}"#)
}

fn binary(message_type: MessageType, payload: &str) -> Vec<u8> {
    let mut frame = vec![message_type.code().unwrap()];
    frame.extend_from_slice(&NOW.to_be_bytes());
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(payload.as_bytes());
    frame
}

fn pong() -> Vec<Effect> {
    vec![Effect::Reply(ServerMessage::Pong)]
}

/// The one error among the effects.
fn the_error(effects: &[Effect]) -> &ErrorReply {
    let mut errors = effects.iter().filter_map(|effect| match effect {
        Effect::Reply(ServerMessage::Error(error)) => Some(error),
        _ => None,
    });
    let error = errors.next().unwrap_or_else(|| panic!("no error in {effects:?}"));
    assert_eq!(errors.next(), None);
    error
}

fn refused_with(code: ErrorCode, effects: &[Effect]) {
    assert_eq!(the_error(effects).code, code, "{effects:?}");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Forward { .. })), "{effects:?}");
}

fn closes(effects: &[Effect]) -> bool {
    let violation = CloseCode::PolicyViolation;
    matches!(effects.last(), Some(Effect::Close { code, .. }) if *code == violation)
}
