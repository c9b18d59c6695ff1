//! Connections that read too slowly. What they are not sent is noted by name, and sent in its
//! newest form when they have caught up.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{ClientId, SessionId};
use crate::limits::LAG_FIELDS_MAX;
use crate::wire::ServerMessage;

use super::dirty::Dirty;
use super::{Effect, Room};

/// What one connection has missed.
#[derive(Debug, Default)]
pub(super) struct Lag {
    dirty: Dirty,
    /// Whether it may be any field: there were too many to be noted by name.
    is_any_field: bool,
    /// Whose awareness, and the clock under which it was told.
    awareness: BTreeMap<ClientId, u64>,
}

impl Lag {
    /// Whether the message can be replaced by a later one, and so was noted.
    fn note(&mut self, message: &ServerMessage) -> bool {
        match message {
            ServerMessage::Delta { field, .. } => {
                if !self.is_any_field {
                    self.dirty.fields.insert(field.clone());
                }
                if self.dirty.fields.len() > LAG_FIELDS_MAX {
                    self.dirty.fields.clear();
                    self.is_any_field = true;
                }
            }
            ServerMessage::DeltaBatch { text: true, .. } => self.dirty.has_text = true,
            // Members of the set; the whole of it says the same.
            ServerMessage::DeltaBatch { text: false, .. } => self.dirty.is_cleared = true,
            ServerMessage::AwarenessUpdate { client, clock, .. } => {
                self.awareness.insert(client.clone(), *clock);
            }
            _ => return false,
        }
        true
    }
}

impl<H> Room<H> {
    /// Notes a broadcast that a connection was not sent, to be made good by
    /// [`Command::CatchUp`](super::Command::CatchUp); false if it must be sent all the same.
    pub fn miss(&mut self, session: SessionId, message: &ServerMessage) -> bool {
        self.followers.contains_key(&session) && self.lags.entry(session).or_default().note(message)
    }

    pub(super) fn send_missed(&mut self, session: SessionId, effects: &mut Vec<Effect>) {
        let Some(Lag { mut dirty, is_any_field, awareness }) = self.lags.remove(&session) else {
            return;
        };
        let Some(follower) = self.followers.get(&session) else { return };
        let (follows_document, follows_awareness) =
            (follower.follows_document, follower.follows_awareness);
        let mut messages = Vec::new();
        if follows_document {
            if is_any_field {
                dirty.fields = self.document.fields().map(|(name, _)| name.clone()).collect();
            }
            messages = self.current(&dirty, &BTreeSet::new());
            if dirty.has_text {
                messages.extend(self.text_message());
            }
        }
        if follows_awareness {
            let entries: BTreeMap<_, _> = self.awareness.entries().collect();
            messages.extend(awareness.into_iter().map(|(client, told)| {
                let entry = entries.get(&client);
                ServerMessage::AwarenessUpdate {
                    document: self.id.clone(),
                    state: entry.map(|entry| entry.state.clone()),
                    clock: entry.map_or(told, |entry| entry.clock.max(told)),
                    client,
                }
            }));
        }
        effects.extend(messages.into_iter().map(|message| Effect::Send(session, message)));
    }
}
