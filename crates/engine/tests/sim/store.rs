//! The store all nodes share: numbers under one lock, without gaps, and every repeat recognised.
//!
//! Unlike a real one it keeps all it ever held, pruned or deleted, so that what a room shows can
//! be compared with the history the room claims to stand in.

use std::collections::{BTreeMap, BTreeSet};

use synckit_engine::clock::EditNumber;
use synckit_engine::delta::{Changes, Delta, DeltaId};
use synckit_engine::document::Document;
use synckit_engine::ids::{ClientId, Millis};
use synckit_engine::position::{Delivery, Epoch, Position, Seq, TIMELINE_UNIT};
use synckit_engine::snapshot::Snapshot;
use synckit_engine::text::TextState;

/// What a client calls one operation, however often it sends it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EditKey(ClientId, EditNumber, Millis, String);

impl EditKey {
    pub(crate) fn new(
        client: &ClientId,
        number: EditNumber,
        timestamp: Millis,
        changes: &Changes,
    ) -> Self {
        let what = match changes {
            Changes::Fields(fields) => format!("field {}", fields[0].0),
            other => format!("{:?}", std::mem::discriminant(other)),
        };
        Self(client.clone(), number, timestamp, what)
    }

    fn of(delta: &Delta) -> Self {
        Self::new(&delta.client, delta.number, delta.timestamp, &delta.changes)
    }
}

/// One life of a document.
#[derive(Debug)]
struct Life {
    epoch: Epoch,
    deltas: Vec<Delta>,
    /// The document after 0, 1, 2 … deltas.
    states: Vec<Document>,
    seqs: BTreeMap<DeltaId, Seq>,
    keys: BTreeSet<EditKey>,
    /// How many deltas only the snapshot has.
    pruned: usize,
    is_over: bool,
}

impl Life {
    /// As a standby has it that received so many deltas.
    fn up_to(&self, count: usize) -> Self {
        let deltas = self.deltas[..count].to_vec();
        Self {
            epoch: Epoch(self.epoch.0 + TIMELINE_UNIT),
            states: self.states[..=count].to_vec(),
            seqs: (1..).map(Seq).zip(&deltas).map(|(seq, delta)| (delta.id.clone(), seq)).collect(),
            keys: deltas.iter().map(EditKey::of).collect(),
            deltas,
            pruned: self.pruned.min(count),
            is_over: false,
        }
    }

    fn head(&self) -> Position {
        Position { epoch: self.epoch, seq: Seq(self.deltas.len() as u64) }
    }
}

/// What a read of the history gives.
#[derive(Debug)]
pub(crate) enum Missing {
    Deltas(Vec<(Seq, Delta)>),
    Document(Snapshot),
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    /// The lives of each document, the last one maybe over.
    documents: Vec<Vec<Life>>,
    pub(crate) is_up: bool,
    pub(crate) deletions: usize,
    /// How often a standby took over.
    pub(crate) takeovers: u64,
    /// An edit that is there twice, under two names.
    pub(crate) doubled: Option<EditKey>,
}

impl Store {
    pub(crate) fn new(documents: usize) -> Self {
        let documents = (0..documents).map(|_| Vec::new()).collect();
        Self { documents, is_up: true, ..Self::default() }
    }

    fn current(&self, document: usize) -> Option<&Life> {
        self.documents[document].last().filter(|life| !life.is_over)
    }

    /// Takes the deltas all together. `epoch` is that of the document if this makes it.
    pub(crate) fn append(
        &mut self,
        document: usize,
        epoch: Epoch,
        deltas: &[Delta],
    ) -> (Epoch, Vec<Delivery>) {
        if self.current(document).is_none() {
            self.documents[document].push(Life {
                epoch,
                deltas: Vec::new(),
                states: vec![Document::new()],
                seqs: BTreeMap::new(),
                keys: BTreeSet::new(),
                pruned: 0,
                is_over: false,
            });
        }
        let life = self.documents[document].last_mut().unwrap();
        let mut deliveries = Vec::with_capacity(deltas.len());
        for delta in deltas {
            if let Some(seq) = life.seqs.get(&delta.id) {
                deliveries.push(Delivery::Repeated(*seq));
                continue;
            }
            let is_known = !life.keys.insert(EditKey::of(delta));
            // A text that is sent again is stored again as far as it wasn't known where it came.
            if is_known && !matches!(delta.changes, Changes::Text(_)) {
                self.doubled = Some(EditKey::of(delta));
            }
            let mut state = life.states.last().unwrap().clone();
            state.apply(delta);
            life.states.push(state);
            life.deltas.push(delta.clone());
            let seq = life.head().seq;
            life.seqs.insert(delta.id.clone(), seq);
            deliveries.push(Delivery::Stored(seq));
        }
        (life.epoch, deliveries)
    }

    pub(crate) fn head(&self, document: usize) -> Option<Position> {
        self.current(document).map(Life::head)
    }

    pub(crate) fn load(&self, document: usize) -> Snapshot {
        let nowhere = Position { epoch: self.no_life(), seq: Seq(0) };
        let nothing = || Snapshot { position: nowhere, ..Snapshot::default() };
        self.current(document).map_or_else(nothing, |life| Snapshot {
            position: life.head(),
            document: life.states.last().unwrap().clone(),
        })
    }

    /// The epoch of a document that is not there.
    pub(crate) fn no_life(&self) -> Epoch {
        Epoch(self.takeovers * TIMELINE_UNIT)
    }

    /// A standby takes over that has not received the last deltas of each document, so many; those.
    pub(crate) fn take_over(&mut self, lags: &[usize]) -> Vec<Vec<Delta>> {
        self.takeovers += 1;
        let lives = self.documents.iter_mut().zip(lags);
        let lose = |(lives, lag): (&mut Vec<Life>, &usize)| {
            let Some(life) = lives.last_mut().filter(|life| !life.is_over) else {
                return Vec::new();
            };
            life.is_over = true;
            let kept = life.deltas.len().saturating_sub(*lag);
            let lost = life.deltas[kept..].to_vec();
            if kept > 0 {
                let next = life.up_to(kept);
                lives.push(next);
            }
            lost
        };
        lives.map(lose).collect()
    }

    /// What comes after a position, or the whole document where the history does not go on there.
    pub(crate) fn missing(&self, document: usize, after: Position) -> Missing {
        let from = usize::try_from(after.seq.0).unwrap();
        match self.current(document) {
            Some(life) if life.epoch == after.epoch && from >= life.pruned => {
                let deltas = life.deltas.iter().skip(from).cloned();
                Missing::Deltas((after.seq.0 + 1..).map(Seq).zip(deltas).collect())
            }
            _ => Missing::Document(self.load(document)),
        }
    }

    pub(crate) fn delete(&mut self, document: usize) {
        if let Some(life) = self.documents[document].last_mut().filter(|life| !life.is_over) {
            life.is_over = true;
            self.deletions += 1;
        }
    }

    /// Snapshot and compaction: from now on older positions get the whole document.
    pub(crate) fn prune(&mut self, document: usize, keep: usize) {
        if let Some(life) = self.documents[document].last_mut() {
            life.pruned = life.pruned.max(life.deltas.len().saturating_sub(keep));
        }
    }

    /// Whether an edit is, or before a deletion was, in the document.
    pub(crate) fn has_taken(&self, document: usize, key: &EditKey) -> bool {
        self.documents[document].iter().any(|life| life.keys.contains(key))
    }

    /// Whether a text is, or before a deletion was, in the document.
    pub(crate) fn has_text(&self, document: usize, text: &TextState) -> bool {
        let mut all = TextState::default();
        for state in self.documents[document].iter().filter_map(|life| life.states.last()) {
            // A part that was known before the deletion is not stored again.
            all.join(state.collections().text());
        }
        all.covers(text)
    }

    /// The document that a position names.
    pub(crate) fn state_at(&self, document: usize, position: Position) -> Option<&Document> {
        let life = self.documents[document].iter().find(|life| life.epoch == position.epoch)?;
        life.states.get(usize::try_from(position.seq.0).ok()?)
    }
}
