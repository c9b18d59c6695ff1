//! Edits on their way to the store and back.

use std::collections::BTreeSet;

use crate::delta::{Changes, Delta, DeltaId};
use crate::ids::SessionId;
use crate::limits::{FORMAT_BYTES_MAX, TEXT_BLOCKS_MAX, number_may_follow};
use crate::peer::PeerMessage;
use crate::position::{Delivery, Epoch, Seq};
use crate::wire::{ErrorCode, ErrorReply, ServerMessage};

use super::dirty::Dirty;
use super::{Draft, Effect, Room, StoredEdit, Ticket, TicketId};

impl<H> Room<H> {
    pub(super) fn edit(
        &mut self,
        session: SessionId,
        message_id: String,
        drafts: Vec<Draft>,
        effects: &mut Vec<Effect>,
    ) {
        let mut known = BTreeSet::new();
        let mut deltas = Vec::with_capacity(drafts.len());
        for draft in drafts {
            // The store takes no id twice in one edit, and the second would change nothing.
            deltas.extend(self.number(draft).filter(|delta| known.insert(delta.id.clone())));
        }
        let checked = self.check_numbers(&deltas).and_then(|()| self.check_growth(&deltas));
        if let Err(refused) = checked {
            let error = refused.on(&self.id).answering(Some(&message_id));
            effects.push(Effect::Send(session, ServerMessage::Error(error)));
        } else if deltas.is_empty() {
            effects.push(Effect::Send(session, ServerMessage::Ack { message_id }));
        } else {
            self.append(Some((session, message_id)), deltas, effects);
        }
    }

    /// One client must not use up the numbers of all others.
    pub(super) fn check_numbers(&self, deltas: &[Delta]) -> Result<(), ErrorReply> {
        let too_far = |number: u64, greatest: u64| {
            ErrorReply::new(ErrorCode::InvalidClock).because(format!(
                "{number} is too far ahead of {greatest}, the greatest so far: subscribe and count on from there"
            ))
        };
        for delta in deltas {
            let stamp = self.document.stamp();
            let number = delta.number.0;
            if !number_may_follow(number, stamp) {
                return Err(too_far(number, stamp));
            }
            let known = self.document.collections().text().clock();
            if let Changes::Text(added) = &delta.changes
                && !number_may_follow(added.clock(), known)
            {
                return Err(too_far(added.clock(), known));
            }
        }
        Ok(())
    }

    /// What is in a text or has a format never goes away, so there is an end to what is taken.
    pub(super) fn check_growth(&self, deltas: &[Delta]) -> Result<(), ErrorReply> {
        let (mut blocks, mut format_bytes) = (0, 0);
        for delta in deltas {
            match &delta.changes {
                Changes::Text(added) => blocks += added.blocks(),
                Changes::Format(operation) => format_bytes += operation.as_str().len(),
                Changes::Fields(_) | Changes::Count(_) | Changes::Set(_) => {}
            }
        }
        let held = self.document.collections();
        let reason = if blocks > 0 && held.text().blocks() + blocks > TEXT_BLOCKS_MAX {
            format!("a text holds at most {TEXT_BLOCKS_MAX} blocks")
        } else if format_bytes > 0 && held.format_bytes() + format_bytes > FORMAT_BYTES_MAX {
            format!("a document holds formats of at most {FORMAT_BYTES_MAX} bytes")
        } else {
            return Ok(());
        };
        Err(ErrorReply::new(ErrorCode::LimitExceeded).because(reason))
    }

    pub(super) fn append(
        &mut self,
        origin: Option<(SessionId, String)>,
        deltas: Vec<Delta>,
        effects: &mut Vec<Effect>,
    ) {
        self.last_ticket += 1;
        let ticket = TicketId(self.last_ticket);
        let bytes = deltas.iter().map(|delta| delta.changes.size()).sum();
        self.deltas_in_flight += deltas.len();
        self.bytes_in_flight += bytes;
        self.tickets.insert(ticket, Ticket { origin, deltas: deltas.len(), bytes });
        effects.push(Effect::Append { ticket, deltas });
    }

    /// The delta of an edit; none if the text it sends is known already.
    pub(super) fn number(&mut self, draft: Draft) -> Option<Delta> {
        let Draft { mut id, client, number, timestamp, mut changes } = draft;
        let number = number.unwrap_or_else(|| {
            let seen = self.document.clock().get(client.as_str());
            let next = seen.max(self.given_numbers.get(client.as_str())).next();
            self.given_numbers.raise(&client, next);
            next
        });
        if let Changes::Text(state) = &changes {
            let added = state.minus(self.document.collections().text());
            if added.is_empty() {
                return None;
            }
            changes = Changes::Text(added);
            id = DeltaId::derive(&client, number, timestamp, &changes);
        }
        Some(Delta { id, client, number, timestamp, changes })
    }

    pub(super) fn redeem(&mut self, id: TicketId) -> Option<Ticket> {
        let ticket = self.tickets.remove(&id)?;
        self.deltas_in_flight -= ticket.deltas;
        self.bytes_in_flight -= ticket.bytes;
        Some(ticket)
    }

    pub(super) fn edits_stored(
        &mut self,
        epoch: Epoch,
        edits: Vec<StoredEdit>,
        effects: &mut Vec<Effect>,
    ) {
        let mut repeats = Vec::new();
        let mut repeated_up_to = Seq(0);
        let mut arrived = Vec::new();
        let mut published = Vec::new();
        for edit in edits {
            let Some(ticket) = self.redeem(edit.ticket) else { continue };
            let session = ticket.origin.as_ref().map(|(session, _)| *session);
            if let Some((session, message_id)) = ticket.origin {
                effects.push(Effect::Send(session, ServerMessage::Ack { message_id }));
            }
            for (delta, delivery) in edit.deltas {
                match (delivery, session) {
                    (Delivery::Stored(seq), Some(_)) if !self.is_alone => {
                        published.push((seq, delta.clone()));
                        arrived.push((seq, delta));
                    }
                    (Delivery::Stored(seq), _) => arrived.push((seq, delta)),
                    (Delivery::Repeated(seq), session) => {
                        repeated_up_to = repeated_up_to.max(seq);
                        repeats.extend(session.map(|session| (session, delta)));
                    }
                }
            }
        }
        if !published.is_empty() {
            let message = PeerMessage::Stored { epoch, deltas: published };
            effects.push(Effect::Publish(message));
        }
        if self.position.epoch.is_takeover_of(epoch) {
            // Acknowledged by a server that is no more, when the room had gone on to the next.
            let deltas: Vec<_> = arrived.into_iter().map(|(_, delta)| delta).collect();
            self.store_again(&deltas, effects);
        } else {
            self.arrive(epoch, arrived, effects);
        }
        if self.position.epoch == epoch && repeated_up_to > self.position.seq {
            // Stored by a try that seemed to fail, or by another node.
            effects.extend(self.reading.doubt(self.position));
        }
        for (session, delta) in repeats {
            self.answer_repeat(session, &delta, effects);
        }
    }

    /// The retrying client may have missed what became of its edit, so it gets the value again.
    pub(super) fn answer_repeat(
        &mut self,
        session: SessionId,
        delta: &Delta,
        effects: &mut Vec<Effect>,
    ) {
        if !self.followers.get(&session).is_some_and(|follower| follower.follows_document) {
            return;
        }
        let mut dirty = Dirty::default();
        dirty.note(delta, false);
        dirty.fields.retain(|name| self.document.field(name.as_str()).is_some());
        let writers = BTreeSet::from([delta.client.clone()]);
        let messages = self.current(&dirty, &writers);
        effects.extend(messages.into_iter().map(|message| Effect::Send(session, message)));
    }

    pub(super) fn edits_not_stored(
        &mut self,
        tickets: &[TicketId],
        code: ErrorCode,
        effects: &mut Vec<Effect>,
    ) {
        for id in tickets {
            let Some(ticket) = self.redeem(*id) else { continue };
            let Some((session, message_id)) = ticket.origin else { continue };
            let error = ErrorReply::new(code).on(&self.id).answering(Some(message_id.as_str()));
            effects.push(Effect::Send(session, ServerMessage::Error(error)));
        }
        // The store may have taken them all the same.
        if code.is_retryable() {
            effects.extend(self.reading.doubt(self.position));
        }
    }
}
