//! One transaction of the writer: the documents it has touched, and what is written of them once
//! at its end rather than with each delta.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{Connection, OptionalExtension as _};
use synckit_engine::ids::{ClientId, DocumentId};
use synckit_engine::position::{Epoch, Seq};

use crate::contract::Delivery;
use crate::error::StoreError;

use super::append::EncodedDelta;
use super::row;
use super::statements;

/// Deltas of deleted documents that one transaction removes: a fraction of what it may add, so
/// that writers hardly feel it.
const SWEEP_STEP: i64 = 500;

pub(super) struct Group<'a> {
    connection: &'a Connection,
    epoch_base: u64,
    now: i64,
    documents: HashMap<DocumentId, OpenDocument>,
    has_removed: bool,
}

/// A document with what is not yet written of it.
pub(super) struct OpenDocument {
    pub(super) key: i64,
    pub(super) head: i64,
    /// The head as it is stored.
    stored_head: i64,
    raised: HashMap<ClientId, i64>,
}

impl<'a> Group<'a> {
    /// In the transaction that the connection has begun.
    pub(super) fn new(connection: &'a Connection, epoch_base: u64) -> Self {
        let documents = HashMap::new();
        Self { connection, epoch_base, now: row::now(), documents, has_removed: false }
    }

    pub(super) fn connection(&self) -> &'a Connection {
        self.connection
    }

    pub(super) fn epoch(&self, key: i64) -> Epoch {
        epoch(self.epoch_base, key)
    }

    pub(super) fn has_removed(&self) -> bool {
        self.has_removed
    }

    /// The document, if there is one.
    pub(super) fn find(&mut self, id: &DocumentId) -> Result<Option<&OpenDocument>, StoreError> {
        match self.documents.entry(id.clone()) {
            Entry::Occupied(open) => Ok(Some(open.into_mut())),
            Entry::Vacant(place) => {
                let found = find(self.connection, id)?;
                Ok(found.map(|document| &*place.insert(document)))
            }
        }
    }

    /// The document's epoch, and what became of each delta. Makes it if there is none.
    pub(super) fn append(
        &mut self,
        id: &DocumentId,
        deltas: &[EncodedDelta],
    ) -> Result<(Epoch, Vec<Delivery>), StoreError> {
        let (connection, now) = (self.connection, self.now);
        let document = match self.documents.entry(id.clone()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(match find(connection, id)? {
                Some(document) => document,
                None => create(connection, id, now)?,
            }),
        };
        let mut add = connection.prepare_cached(statements::ADD_DELTA)?;
        let mut deliveries = Vec::with_capacity(deltas.len());
        for delta in deltas {
            let seq = document.head + 1;
            let added = add.execute((
                document.key,
                seq,
                delta.id.as_str(),
                delta.client.as_str(),
                &delta.data,
                &delta.clock_json,
                delta.timestamp,
                now,
            ))?;
            if added == 0 {
                let seq = connection
                    .prepare_cached(statements::FIND_DELTA)?
                    .query_row((document.key, delta.id.as_str()), |row| {
                        Ok(row::unsigned(row, 0))
                    })??;
                deliveries.push(Delivery::Repeated(Seq(seq)));
                continue;
            }
            document.head = seq;
            for (client, counter) in delta.clock.iter() {
                let counter = row::signed(counter)?;
                match document.raised.get_mut(client) {
                    Some(raised) => *raised = counter.max(*raised),
                    None => drop(document.raised.insert(client.clone(), counter)),
                }
            }
            deliveries.push(Delivery::Stored(Seq(seq.cast_unsigned())));
        }
        Ok((epoch(self.epoch_base, document.key), deliveries))
    }

    /// The document's epoch, made if there is none.
    pub(super) fn create(&mut self, id: &DocumentId) -> Result<(), StoreError> {
        if self.find(id)?.is_none() {
            let document = create(self.connection, id, self.now)?;
            self.documents.insert(id.clone(), document);
        }
        Ok(())
    }

    /// Whether there was one. Its deltas are left for [`Group::sweep`]: nobody finds them any
    /// more, and to remove many at once would keep all other writers waiting.
    pub(super) fn delete(&mut self, id: &DocumentId) -> Result<bool, StoreError> {
        let Some(key) = self.find(id)?.map(|document| document.key) else {
            return Ok(false);
        };
        self.documents.remove(id);
        for statement in [
            statements::DELETE_DOCUMENT,
            statements::DELETE_SNAPSHOT,
            statements::DELETE_CLOCK,
            statements::NOTE_REMOVED,
        ] {
            self.connection.prepare_cached(statement)?.execute([key])?;
        }
        self.has_removed = true;
        Ok(true)
    }

    /// Writes heads and clocks. To be called before the end.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        let mut move_head = self.connection.prepare_cached(statements::MOVE_HEAD)?;
        let mut raise = self.connection.prepare_cached(statements::RAISE_CLOCK)?;
        for document in self.documents.values_mut() {
            if document.head == document.stored_head {
                continue;
            }
            move_head.execute((document.key, document.head, self.now))?;
            document.stored_head = document.head;
            for (client, counter) in document.raised.drain() {
                raise.execute((document.key, client.as_str(), counter))?;
            }
        }
        Ok(())
    }

    /// Removes some deltas of deleted documents; whether there may be more.
    pub(super) fn sweep(&self) -> Result<bool, StoreError> {
        let mut find = self.connection.prepare_cached(statements::FIND_REMOVED)?;
        let Some(key) = find.query_row([], |row| row.get::<_, i64>(0)).optional()? else {
            return Ok(false);
        };
        let mut sweep = self.connection.prepare_cached(statements::SWEEP)?;
        if sweep.execute((key, SWEEP_STEP))? == 0 {
            self.connection.prepare_cached(statements::FORGET_REMOVED)?.execute([key])?;
        }
        Ok(true)
    }
}

/// The life of the document with this key.
pub(super) fn epoch(base: u64, key: i64) -> Epoch {
    Epoch(base.saturating_add(key.cast_unsigned()))
}

fn find(connection: &Connection, id: &DocumentId) -> Result<Option<OpenDocument>, StoreError> {
    let mut find = connection.prepare_cached(statements::FIND)?;
    let open = |row: &rusqlite::Row<'_>| {
        let (key, head) = (row.get(0)?, row.get(1)?);
        Ok(OpenDocument { key, head, stored_head: head, raised: HashMap::new() })
    };
    Ok(find.query_row([id.as_str()], open).optional()?)
}

fn create(connection: &Connection, id: &DocumentId, now: i64) -> Result<OpenDocument, StoreError> {
    connection.prepare_cached(statements::CREATE)?.execute((id.as_str(), now))?;
    let key = connection.last_insert_rowid();
    Ok(OpenDocument { key, head: 0, stored_head: 0, raised: HashMap::new() })
}
