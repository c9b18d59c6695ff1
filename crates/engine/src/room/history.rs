//! The stored history, as far as the room has come in it.

use std::collections::BTreeSet;

use crate::clock::VectorClock;
use crate::delta::Delta;
use crate::limits::FEEDBACK_CLIENTS_MAX;
use crate::position::{Arrival, Epoch, Position, Seq};
use crate::snapshot::Snapshot;

use super::dirty::Dirty;
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
            self.behind = self.reading.is_some();
            return self.read(Effect::Reload, effects);
        }
        self.arrived.extend(deltas);
        self.advance(effects);
        while self.arrived.len() > ARRIVED_MAX {
            self.arrived.pop_last();
            self.behind = true;
        }
    }

    /// A document that nobody had written has no epoch until its first delta. Several may be named
    /// before that one comes, and what was numbered in one is nothing in another.
    pub(super) fn begin(&mut self, epoch: Epoch) {
        if self.position.seq == Seq(0) && self.position.epoch != epoch {
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
                    self.read(Effect::Fetch(self.position), effects);
                    break;
                }
            }
        }
        if self.tickets.is_empty() && self.reading.is_none() {
            self.counters = VectorClock::new();
        }
        self.broadcast(dirty, &writers, effects);
    }

    pub(super) fn read(&mut self, effect: Effect, effects: &mut Vec<Effect>) {
        if self.reading.is_none() {
            self.reading = Some(self.position);
            effects.push(effect);
        }
    }

    /// Reads what may be stored beyond the position. An answer on its way may be from before.
    pub(super) fn catch_up(&mut self, effects: &mut Vec<Effect>) {
        self.behind = self.reading.is_some();
        self.read(Effect::Fetch(self.position), effects);
    }

    /// Reads again if the answer that came may have been from before what was then stored.
    pub(super) fn read_on(&mut self, effects: &mut Vec<Effect>) {
        if std::mem::take(&mut self.behind) {
            self.read(Effect::Fetch(self.position), effects);
        }
    }

    /// Whether the room has gone on since a document was read, so that it would fall back.
    pub(super) fn is_outdated(&mut self, loaded: Position, asked_at: Option<Position>) -> bool {
        if loaded.epoch == self.position.epoch {
            return loaded.seq < self.position.seq;
        }
        // Which epoch is the newer one only another read can tell.
        let has_moved = asked_at.is_some_and(|asked_at| asked_at != self.position);
        self.behind |= has_moved;
        has_moved
    }

    pub(super) fn reload(&mut self, loaded: Snapshot, effects: &mut Vec<Effect>) {
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
