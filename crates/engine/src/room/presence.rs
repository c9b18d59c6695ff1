//! Who is here: over connections to this node, and through others.

use crate::awareness::{Changed, Heard, Refused};
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
            Some(state) => self.awareness.update(session, &client, state.clone(), clock).map(Some),
            None => self.awareness.remove(session, &client, clock),
        };
        match taken {
            Ok(Some(clock)) => {
                let entries = vec![(client.clone(), state.clone(), clock)];
                effects
                    .push(Effect::Publish(PeerMessage::Presence { is_repeated: false, entries }));
                self.show_presence(client, state, clock, effects);
            }
            Ok(None) | Err(Refused::Stale) => {}
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

    /// Tells of those who are gone, or whose word another connection has again.
    pub(super) fn presence_changed(
        &self,
        changed: Vec<Changed>,
        is_published: bool,
        effects: &mut Vec<Effect>,
    ) {
        if is_published && !changed.is_empty() {
            let message = PeerMessage::Presence { is_repeated: false, entries: changed.clone() };
            effects.push(Effect::Publish(message));
        }
        for (client, state, clock) in changed {
            self.show_presence(client, state, clock, effects);
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
            match &state {
                Some(said) => {
                    if self.awareness.hear(node, &client, said.clone(), clock, heard) {
                        self.show_presence(client, state, clock, effects);
                    }
                }
                None => {
                    let changed = self.awareness.hear_gone(node, &client, clock);
                    let is_back = matches!(changed, Some((_, Some(_), _)));
                    self.presence_changed(changed.into_iter().collect(), is_back, effects);
                }
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
