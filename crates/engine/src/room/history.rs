//! The stored history, as far as the room has come in it.

use std::collections::BTreeSet;

use crate::clock::VectorClock;
use crate::delta::{Changes, Delta};
use crate::ids::SessionId;
use crate::limits::FEEDBACK_CLIENTS_MAX;
use crate::position::{Arrival, Epoch, Position, Seq};
use crate::snapshot::Snapshot;

use super::dirty::Dirty;
use super::reading::{Answer, Reading};
use super::recent::RECENT_FOR_MS;
use super::{Effect, Room, Window};

/// Deltas kept because others are missing before them. Past it they are read again instead.
const ARRIVED_MAX: usize = 10_000;

/// Deltas that are stored again as one edit: enough for few round trips, little enough to leave
/// others their turn.
const STORED_AGAIN_AT_ONCE: usize = 256;

impl<H> Room<H> {
    /// Takes numbered deltas, whoever stored them.
    pub(super) fn arrive(
        &mut self,
        epoch: Epoch,
        deltas: Vec<(Seq, Delta)>,
        effects: &mut Vec<Effect>,
    ) {
        self.begin(epoch);
        if self.position.epoch != epoch {
            return effects.extend(self.reading.other_life(self.position));
        }
        self.arrived.extend(deltas);
        self.advance(effects);
        while self.arrived.len() > ARRIVED_MAX {
            self.arrived.pop_last();
            self.reading.dropped();
        }
    }

    /// Begins the first life of a document. What was numbered in one that was named before is
    /// nothing in this one.
    pub(super) fn begin(&mut self, epoch: Epoch) {
        if Reading::begins(self.position, epoch) {
            self.position.epoch = epoch;
            self.arrived.clear();
        }
    }

    /// Applies what is next, sends the new values out, and asks for what is missing.
    pub(super) fn advance(&mut self, effects: &mut Vec<Effect>) {
        let mut dirty = Dirty::default();
        let mut writers = BTreeSet::new();
        while let Some(entry) = self.arrived.first_entry() {
            match self.position.arrival(self.position.epoch, *entry.key()) {
                Arrival::Next => {
                    let delta = entry.remove();
                    self.position.seq = self.position.seq.next();
                    let is_new = self.document.apply(&delta);
                    dirty.note(&delta, is_new && !self.shown_before.remove(&delta.id));
                    self.state = None;
                    if writers.len() < FEEDBACK_CLIENTS_MAX {
                        writers.insert(delta.client.clone());
                    }
                    if self.recent.keep(self.position.seq, delta) {
                        effects.push(Effect::Open(Window::Recent, RECENT_FOR_MS));
                    }
                }
                Arrival::Stale => drop(entry.remove()),
                Arrival::Gap | Arrival::OtherEpoch => {
                    effects.extend(self.reading.gap(self.position));
                    break;
                }
            }
        }
        if self.tickets.is_empty() && self.reading.is_idle() {
            self.given_numbers = VectorClock::new();
        }
        self.broadcast(dirty, &writers, effects);
    }

    /// Takes the history that was asked for.
    pub(super) fn fetched(&mut self, deltas: Vec<(Seq, Delta)>, effects: &mut Vec<Effect>) {
        let answer = self.reading.fetched(self.position);
        if answer.is_taken {
            self.arrived.extend(deltas);
        }
        self.advance(effects);
        self.read_on(answer, effects);
    }

    /// Takes the document that was asked for.
    pub(super) fn reloaded(&mut self, loaded: Snapshot, effects: &mut Vec<Effect>) {
        let answer = self.reading.reloaded(self.position, loaded.position);
        if answer.is_taken {
            self.reload(loaded, effects);
        }
        self.read_on(answer, effects);
    }

    fn read_on(&mut self, answer: Answer, effects: &mut Vec<Effect>) {
        if answer.reads_on {
            effects.extend(self.reading.gap(self.position));
        }
    }

    fn reload(&mut self, loaded: Snapshot, effects: &mut Vec<Effect>) {
        let before = std::mem::replace(&mut self.document, loaded.document);
        let from = std::mem::replace(&mut self.position, loaded.position);
        self.state = None;
        self.text_string = None;
        if from.epoch != self.position.epoch {
            self.arrived.clear();
            self.change_history(from, effects);
        }
        if before != self.document {
            self.broadcast(Dirty::between(&before, &self.document), &BTreeSet::new(), effects);
        }
        self.advance(effects);
    }

    /// The store's numbers mean something else from now on. Stamps may begin low, so everyone who
    /// follows is given the state as if it had just come; and what the store lost to a takeover is
    /// stored again, as far as the room still has it.
    fn change_history(&mut self, from: Position, effects: &mut Vec<Effect>) {
        let to = self.position;
        let kept = if to.epoch.is_takeover_of(from.epoch) {
            // Another life begins with nothing of the one that was lost.
            let common = if to.epoch.is_same_life(from.epoch) { to.seq } else { Seq(0) };
            self.recent.take_beyond(common, from.seq)
        } else {
            None
        };
        // What is given up here is of a history that is no more.
        self.recent.take();
        self.shown_before.clear();
        if from.seq == Seq(0) {
            return;
        }
        let lost = kept.map(|kept| self.lost_of(kept));
        let stored_again = lost.as_ref().map(Vec::len);
        effects.push(Effect::HistoryChanged { from, to, stored_again });
        for session in self.following_sessions() {
            self.answer_subscribe(session, String::new(), true, effects);
        }
        let lost = lost.unwrap_or_default();
        let adds_up =
            |delta: &&Delta| matches!(delta.changes, Changes::Count(_) | Changes::Format(_));
        self.shown_before.extend(lost.iter().filter(adds_up).map(|delta| delta.id.clone()));
        self.store_again(&lost, effects);
    }

    /// Those of the deltas, in order, that the document has not seen.
    fn lost_of(&self, mut deltas: Vec<Delta>) -> Vec<Delta> {
        if !deltas.is_empty() {
            let mut probe = self.document.clone();
            deltas.retain(|delta| probe.lacks(delta) && probe.apply(delta));
        }
        deltas
    }

    /// Stores what a history that is no more had, and this one may lack; nobody waits for it.
    pub(super) fn store_again(&mut self, lost: &[Delta], effects: &mut Vec<Effect>) {
        for chunk in lost.chunks(STORED_AGAIN_AT_ONCE) {
            self.append(None, chunk.to_vec(), effects);
        }
    }

    fn following_sessions(&self) -> Vec<SessionId> {
        let following = self.followers.iter().filter(|(_, follower)| follower.follows_document);
        following.map(|(session, _)| *session).collect()
    }
}
