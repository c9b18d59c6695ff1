//! A standby that lacks the last deltas takes over the store, and what must be there in the end.

use synckit_engine::delta::Delta;
use synckit_engine::position::{Epoch, Position};
use synckit_engine::room::Input;

use crate::check::Invariant;
use crate::sabotage::Sabotage;
use crate::world::World;

/// A standby lags by less than this many deltas of a document.
const LAG_MAX: usize = 5;

/// A delta that a standby lacks, and the rooms that have it.
#[derive(Debug)]
pub(crate) struct Lacking {
    document: usize,
    delta: Delta,
    /// Node and instance of each.
    rooms: Vec<(usize, u64)>,
    /// Of documents, when it was lost: one that is deleted after that need not have it.
    deletions: usize,
}

impl World {
    /// Unlike all before, and in no order.
    pub(crate) fn new_epoch(&mut self) -> Epoch {
        let life = 1 + (self.random.next() >> 33);
        Epoch(self.store.no_life().0 + life)
    }

    pub(crate) fn take_over(&mut self) {
        let heads: Vec<_> = (0..self.plan.documents).map(|it| self.store.head(it)).collect();
        let lags: Vec<_> = heads.iter().map(|_| self.random.below(LAG_MAX)).collect();
        self.note(|| format!("a standby takes over that lacks {lags:?} deltas"));
        let lost = self.store.take_over(&lags);
        for (document, (head, lost)) in heads.into_iter().zip(lost).enumerate() {
            let Some(head) = head else { continue };
            self.lacking.retain(|lacking| !lost.iter().any(|it| it.id == lacking.delta.id));
            let first = head.seq.0 + 1 - lost.len() as u64;
            for (seq, delta) in (first..).zip(lost) {
                let rooms = self.rooms_with(document, head, first, seq);
                let deletions = self.store.deletions;
                self.lacking.push(Lacking { document, delta, rooms, deletions });
            }
        }
        for node in 0..self.nodes.len() {
            self.ask_heads(node);
        }
    }

    /// Rooms that hold the history from `first` to `seq`.
    fn rooms_with(
        &self,
        document: usize,
        head: Position,
        first: u64,
        seq: u64,
    ) -> Vec<(usize, u64)> {
        let slots = self.nodes.iter().map(|node| node.slots.get(&document)).enumerate();
        let rooms = slots.filter_map(|(node, slot)| {
            let slot = slot?;
            let room = slot.room.as_ref()?;
            let here = room.position();
            let has =
                here.epoch == head.epoch && here.seq.0 >= seq && room.remembers_from().0 <= first;
            let has_by_right = self.plan.is(Sabotage::ForgetRecent) && here.epoch == head.epoch;
            (has || has_by_right).then_some((node, slot.instance))
        });
        rooms.collect()
    }

    /// When a minute is over for which rooms keep what is new.
    pub(crate) fn end_minutes(&mut self, node: usize) {
        let now = self.now;
        let over = self.nodes[node].slots.iter_mut().filter_map(|(document, slot)| {
            slot.recent_until.take_if(|until| *until <= now).map(|_| *document)
        });
        for document in over.collect::<Vec<_>>() {
            self.give(node, document, Input::Over(synckit_engine::room::Window::Recent));
        }
    }

    pub(crate) fn check_takeovers(&mut self) {
        for lacking in std::mem::take(&mut self.lacking) {
            let Lacking { document, delta, rooms, deletions } = lacking;
            let lives = |(node, instance): &(usize, u64)| {
                let slot = self.nodes[*node].slots.get(&document);
                slot.is_some_and(|slot| slot.instance == *instance)
            };
            if deletions < self.store.deletions || !rooms.iter().any(lives) {
                continue;
            }
            let mut stored = self.store.load(document).document;
            if stored.lacks(&delta) && stored.apply(&delta) {
                let what = format!("{delta:?} of document {document} was held by {rooms:?}");
                self.violate(Invariant::TakeoversLoseNothing, what);
            }
        }
    }
}
