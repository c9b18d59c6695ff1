//! The store of one document, as far as its contract goes: numbers without gaps, every repeat
//! recognised, a history that may be pruned, and a document that may be deleted and made again.

use std::collections::BTreeMap;

use synckit_engine::delta::{Delta, DeltaId};
use synckit_engine::document::Document;
use synckit_engine::position::{Delivery, Epoch, Position, Seq};
use synckit_engine::room::Input;
use synckit_engine::snapshot::Snapshot;

#[derive(Debug, Default)]
pub(super) struct Store {
    /// How many lives of the document are over.
    ended: u64,
    seqs: BTreeMap<DeltaId, Seq>,
    deltas: Vec<Delta>,
    /// What they add up to.
    document: Document,
    /// How many of the deltas only the snapshot has.
    pruned: usize,
}

impl Store {
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.ended + 1)
    }

    /// None while nobody has written.
    pub(super) fn head(&self) -> Option<Position> {
        let seq = Seq(self.deltas.len() as u64);
        (seq > Seq(0)).then(|| Position { epoch: self.epoch(), seq })
    }

    /// What the deltas add up to, as it was when each came.
    pub(super) fn document(&self) -> &Document {
        &self.document
    }

    /// What the deltas add up to, from the first on.
    pub(super) fn fold(&self) -> Document {
        let mut document = Document::new();
        for delta in &self.deltas {
            document.apply(delta);
        }
        document
    }

    pub(super) fn append(&mut self, deltas: Vec<Delta>) -> Vec<(Delta, Delivery)> {
        deltas.into_iter().map(|delta| self.take(delta)).collect()
    }

    fn take(&mut self, delta: Delta) -> (Delta, Delivery) {
        if let Some(seq) = self.seqs.get(&delta.id) {
            return (delta, Delivery::Repeated(*seq));
        }
        self.document.apply(&delta);
        self.deltas.push(delta.clone());
        let seq = Seq(self.deltas.len() as u64);
        self.seqs.insert(delta.id.clone(), seq);
        (delta, Delivery::Stored(seq))
    }

    pub(super) fn load(&self) -> Snapshot {
        Snapshot { position: self.head().unwrap_or_default(), document: self.document.clone() }
    }

    /// What comes after a position, or the whole document where the history does not go on there.
    pub(super) fn missing<H>(&self, after: Position) -> Input<H> {
        let from = usize::try_from(after.seq.0).unwrap_or(usize::MAX);
        let goes_on = self.head().is_some_and(|head| head.epoch == after.epoch);
        if !goes_on || from < self.pruned {
            return Input::Reloaded(self.load());
        }
        let deltas = self.deltas.iter().skip(from).cloned();
        Input::Fetched((after.seq.0 + 1..).map(Seq).zip(deltas).collect())
    }

    pub(super) fn prune(&mut self, keep: usize) {
        self.pruned = self.pruned.max(self.deltas.len().saturating_sub(keep));
    }

    pub(super) fn delete(&mut self) {
        *self = Self { ended: self.ended + 1, ..Self::default() };
    }
}
