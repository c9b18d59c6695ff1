//! The stored history, as far as the room has come in it.

use std::collections::BTreeSet;

use crate::clock::VectorClock;
use crate::delta::Delta;
use crate::limits::FEEDBACK_CLIENTS_MAX;
use crate::position::{Arrival, Epoch, Seq};
use crate::snapshot::Snapshot;

use super::dirty::Dirty;
use super::reading::{Answer, Reading};
use super::{Effect, Room};

/// Deltas kept because others are missing before them. Past it they are read again instead.
const ARRIVED_MAX: usize = 10_000;

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
                    dirty.note(&delta, is_new);
                    self.state = None;
                    if writers.len() < FEEDBACK_CLIENTS_MAX {
                        writers.insert(delta.client);
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
        self.state = None;
        if self.position.epoch != loaded.position.epoch {
            self.arrived.clear();
        }
        self.position = loaded.position;
        if before != self.document {
            self.broadcast(Dirty::between(&before, &self.document), &BTreeSet::new(), effects);
        }
        self.advance(effects);
    }
}
