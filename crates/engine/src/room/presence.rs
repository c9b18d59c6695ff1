//! Who is here: over connections to this node, and through others.

use crate::awareness::{Heard, Refused};
use crate::ids::{ClientId, Millis, NodeId, SessionId};
use crate::json::JsonText;
use crate::limits::PRESENCE_HEARD_FOR_MS;
use crate::peer::PeerMessage;
use crate::wire::message::Presence;
use crate::wire::{ErrorCode, ErrorReply, ServerMessage};

use super::{Effect, Room};

impl<H> Room<H> {
    pub(super) fn everybody(&self, but: Option<&ClientId>) -> ServerMessage {
        let states = self
            .awareness
            .entries()
            .filter(|(client, _)| Some(*client) != but)
            .map(|(client, entry)| Presence {
                client: client.clone(),
                state: entry.state.clone(),
                clock: entry.clock,
            })
            .collect();
        ServerMessage::AwarenessState { document: self.id.clone(), states }
    }

    pub(super) fn presence(
        &mut self,
        session: SessionId,
        client: ClientId,
        state: Option<JsonText>,
        clock: u64,
        effects: &mut Vec<Effect>,
    ) {
        let taken = match &state {
            Some(state) => {
                self.awareness.update(session, &client, state.clone(), clock).map(|()| true)
            }
            None => self.awareness.remove(session, &client, clock),
        };
        match taken {
            Ok(true) => {
                let entries = vec![(client.clone(), state.clone(), clock)];
                effects
                    .push(Effect::Publish(PeerMessage::Presence { is_repeated: false, entries }));
                self.show_presence(client, state, clock, effects);
            }
            Ok(false) | Err(Refused::Stale) => {}
            Err(refused) => {
                let error = ErrorReply::new(ErrorCode::LimitExceeded).because(refused);
                effects.push(Effect::Send(session, ServerMessage::Error(error.on(&self.id))));
            }
        }
    }

    pub(super) fn show_presence(
        &self,
        client: ClientId,
        state: Option<JsonText>,
        clock: u64,
        effects: &mut Vec<Effect>,
    ) {
        effects.push(Effect::BroadcastPresence(ServerMessage::AwarenessUpdate {
            document: self.id.clone(),
            client,
            state,
            clock,
        }));
    }

    pub(super) fn presence_gone(
        &self,
        gone: Vec<(ClientId, u64)>,
        is_published: bool,
        effects: &mut Vec<Effect>,
    ) {
        if is_published && !gone.is_empty() {
            let entries = gone.iter().map(|(client, clock)| (client.clone(), None, *clock));
            let message = PeerMessage::Presence { is_repeated: false, entries: entries.collect() };
            effects.push(Effect::Publish(message));
        }
        for (client, clock) in gone {
            self.show_presence(client, None, clock, effects);
        }
    }

    pub(super) fn hear_presence(
        &mut self,
        node: &NodeId,
        now: Millis,
        is_repeated: bool,
        entries: Vec<(ClientId, Option<JsonText>, u64)>,
        effects: &mut Vec<Effect>,
    ) {
        let heard = Heard { is_repeated, until: now.saturating_add(PRESENCE_HEARD_FOR_MS) };
        for (client, state, clock) in entries {
            let is_new = match &state {
                Some(state) => self.awareness.hear(node, &client, state.clone(), clock, heard),
                None => self.awareness.hear_gone(node, &client, clock),
            };
            if is_new {
                self.show_presence(client, state, clock, effects);
            }
        }
    }

    /// Tells the other nodes everybody who is connected to this one.
    pub(super) fn tell_presence(&self, effects: &mut Vec<Effect>) {
        let entries = self
            .awareness
            .here()
            .map(|(client, entry)| (client.clone(), Some(entry.state.clone()), entry.clock));
        let message = PeerMessage::Presence { is_repeated: true, entries: entries.collect() };
        effects.push(Effect::Publish(message));
    }
}
