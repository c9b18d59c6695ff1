//! Who is here: over connections to this node, and through others.

use crate::awareness::{Changed, Heard, Refused};
use crate::ids::{ClientId, NodeId, SessionId};
use crate::json::JsonText;
use crate::limits::{AWARENESS_HEARD_FOR_MS, EDIT_NUMBER_JUMP_TO_MAX, number_may_follow};
use crate::peer::PeerMessage;
use crate::time::Moment;
use crate::wire::message::ClientAwareness;
use crate::wire::{ErrorCode, ErrorReply, ServerMessage};

use super::{Effect, Room};

impl<H> Room<H> {
    pub(super) fn everybody(&self, but: Option<&ClientId>) -> ServerMessage {
        let states = self
            .awareness
            .entries()
            .filter(|(client, _)| Some(*client) != but)
            .map(|(client, entry)| ClientAwareness {
                client: client.clone(),
                state: entry.state.clone(),
                clock: entry.clock,
            })
            .collect();
        ServerMessage::AwarenessState { document: self.id.clone(), states }
    }

    pub(super) fn update_awareness(
        &mut self,
        session: SessionId,
        client: ClientId,
        state: Option<JsonText>,
        clock: u64,
        effects: &mut Vec<Effect>,
    ) {
        let known = || self.awareness.entries().map(|(_, entry)| entry.clock).max().unwrap_or(0);
        if clock > EDIT_NUMBER_JUMP_TO_MAX && !number_may_follow(clock, known()) {
            let error = ErrorReply::new(ErrorCode::InvalidClock)
                .because(format!("{clock} is too far ahead of everybody else's clock"));
            effects.push(Effect::Send(session, ServerMessage::Error(error.on(&self.id))));
            return;
        }
        let taken = match &state {
            Some(state) => self.awareness.update(session, &client, state.clone(), clock).map(Some),
            None => self.awareness.remove(session, &client, clock),
        };
        match taken {
            Ok(Some(clock)) => self.show_awareness(vec![(client, state, clock)], true, effects),
            Ok(None) | Err(Refused::Stale) => {}
            Err(refused) => {
                let error = ErrorReply::new(ErrorCode::LimitExceeded).because(refused);
                effects.push(Effect::Send(session, ServerMessage::Error(error.on(&self.id))));
            }
        }
    }

    /// Sends changes to the watchers, and to the other nodes if they are for them.
    pub(super) fn send_awareness(
        &self,
        changes: Vec<Changed>,
        is_published: bool,
        effects: &mut Vec<Effect>,
    ) {
        if is_published && !changes.is_empty() {
            let entries = changes.clone();
            effects.push(Effect::Publish(PeerMessage::Awareness { is_repeated: false, entries }));
        }
        effects.extend(changes.into_iter().map(|(client, state, clock)| {
            let document = self.id.clone();
            let message = ServerMessage::AwarenessUpdate { document, client, state, clock };
            Effect::BroadcastAwareness(message)
        }));
    }

    pub(super) fn hear_awareness(
        &mut self,
        node: &NodeId,
        now: Moment,
        is_repeated: bool,
        entries: Vec<(ClientId, Option<JsonText>, u64)>,
        effects: &mut Vec<Effect>,
    ) {
        let heard = Heard { is_repeated, until: now.after(AWARENESS_HEARD_FOR_MS) };
        let (mut changed, mut back) = (Vec::new(), Vec::new());
        for (client, state, clock) in entries {
            match &state {
                Some(said) => {
                    if self.awareness.hear(node, &client, said.clone(), clock, heard) {
                        changed.push((client, state, clock));
                    }
                }
                None => match self.awareness.hear_gone(node, &client, clock) {
                    Some(is_back @ (_, Some(_), _)) => back.push(is_back),
                    gone => changed.extend(gone),
                },
            }
        }
        self.show_awareness(changed, false, effects);
        self.show_awareness(back, true, effects);
    }

    /// Tells the other nodes everybody who is connected to this one.
    pub(super) fn tell_awareness(&self, effects: &mut Vec<Effect>) {
        let entries = self
            .awareness
            .here()
            .map(|(client, entry)| (client.clone(), Some(entry.state.clone()), entry.clock));
        let message = PeerMessage::Awareness { is_repeated: true, entries: entries.collect() };
        effects.push(Effect::Publish(message));
    }
}
