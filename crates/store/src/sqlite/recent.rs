//! What the writer remembers of the deltas that are not filed: their ids, which no index has yet,
//! and their documents, so that the next append to one of them looks for nothing in the file.
//!
//! It is exact, since nobody else writes. After a transaction that failed it is read anew.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use rusqlite::Connection;
use synckit_engine::ids::DocumentId;

use crate::error::StoreError;

use super::row::{self, StoredId};
use super::statements;

#[derive(Debug, Default)]
pub(super) struct Recent {
    keys: HashMap<DocumentId, i64>,
    /// By their keys. They are filed in this order: each has gathered some deltas by its turn, and
    /// neighbours share pages.
    documents: BTreeMap<i64, RecentDocument>,
    /// How many deltas they have together.
    deltas: usize,
    /// The key of the last one whose turn it was.
    turn: i64,
}

/// A document with deltas that are not filed.
#[derive(Debug)]
struct RecentDocument {
    id: DocumentId,
    head: i64,
    has_filed: bool,
    seqs: HashMap<StoredId, i64>,
}

/// What an append has to know of its document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document {
    pub(super) key: i64,
    pub(super) head: i64,
    /// Whether deltas of it may be filed.
    pub(super) has_filed: bool,
}

impl Recent {
    pub(super) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let mut recent = Self::default();
        let mut statement = connection.prepare_cached(statements::RECENT)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (key, seq) = (row.get(1)?, row.get(2)?);
            let document = Document { key, head: seq, has_filed: row.get(4)? };
            recent.add(&row::document_id(row, 0)?, document, row.get(3)?);
        }
        Ok(recent)
    }

    pub(super) fn find(&self, id: &DocumentId) -> Option<Document> {
        let key = *self.keys.get(id)?;
        let RecentDocument { head, has_filed, .. } = *self.documents.get(&key)?;
        Some(Document { key, head, has_filed })
    }

    /// The number of the delta with this id, if it is one of these.
    pub(super) fn seq(&self, key: i64, id: &StoredId) -> Option<i64> {
        self.documents.get(&key)?.seqs.get(id).copied()
    }

    /// Adds the delta that is now the document's head.
    pub(super) fn add(&mut self, id: &DocumentId, document: Document, delta: StoredId) {
        let Document { key, head, has_filed } = document;
        let known = self.documents.entry(key).or_insert_with(|| {
            self.keys.insert(id.clone(), key);
            RecentDocument { id: id.clone(), head, has_filed, seqs: HashMap::new() }
        });
        known.head = head;
        known.seqs.insert(delta, head);
        self.deltas += 1;
    }

    /// Forgets the document, which has been filed or deleted.
    pub(super) fn remove(&mut self, key: i64) {
        if let Some(removed) = self.documents.remove(&key) {
            self.keys.remove(&removed.id);
            self.deltas -= removed.seqs.len();
        }
    }

    /// How many deltas all documents have together.
    pub(super) fn deltas(&self) -> usize {
        self.deltas
    }

    /// The document's id, if it is one of these.
    pub(super) fn id(&self, key: i64) -> Option<&DocumentId> {
        self.documents.get(&key).map(|document| &document.id)
    }

    /// How many the document has.
    pub(super) fn deltas_of(&self, key: i64) -> usize {
        self.documents.get(&key).map_or(0, |document| document.seqs.len())
    }

    /// Whose turn it is to be filed, but for these.
    pub(super) fn next(&mut self, but: &HashSet<i64>) -> Option<i64> {
        let later = self.documents.range((Bound::Excluded(self.turn), Bound::Unbounded));
        let mut keys = later.chain(self.documents.range(..=self.turn)).map(|(key, _)| *key);
        self.turn = keys.find(|key| !but.contains(key))?;
        Some(self.turn)
    }
}
