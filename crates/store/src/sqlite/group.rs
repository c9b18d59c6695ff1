//! One transaction of the writer: appends, and what is filed after them.

use std::collections::HashSet;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _};
use synckit_engine::clock::VectorClock;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Epoch, Seq};

use crate::contract::Delivery;
use crate::error::StoreError;
use crate::sql;

use super::failure::is_taken;
use super::recent::{Document, Recent};
use super::row::{self, EncodedDelta};
use super::statements;

/// Deltas of deleted documents that one transaction removes: a fraction of what it may add, so
/// that writers hardly feel it.
const SWEEP_STEP: i64 = 500;

/// Deltas of one document that wait to be filed: what reading its clock costs at most, about.
const DOCUMENT_RECENT_MAX: usize = 500;

pub(super) struct Group<'a> {
    connection: &'a Connection,
    epoch_base: u64,
    now: i64,
    recent: &'a mut Recent,
    add_delta: CachedStatement<'a>,
    add_recent: CachedStatement<'a>,
    appended: HashSet<i64>,
    has_removed: bool,
}

/// A document that could not be filed, and why. Its deltas can stay where they are.
pub(super) struct Unfilable {
    pub(super) key: i64,
    pub(super) error: StoreError,
}

impl<'a> Group<'a> {
    /// In the transaction that the connection has begun.
    pub(super) fn new(
        connection: &'a Connection,
        epoch_base: u64,
        recent: &'a mut Recent,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            connection,
            epoch_base,
            now: row::now(),
            recent,
            add_delta: connection.prepare_cached(statements::ADD_DELTA)?,
            add_recent: connection.prepare_cached(statements::ADD_RECENT)?,
            appended: HashSet::new(),
            has_removed: false,
        })
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
    pub(super) fn find(&self, id: &DocumentId) -> Result<Option<Document>, StoreError> {
        if let Some(document) = self.recent.find(id) {
            return Ok(Some(document));
        }
        let mut find = self.connection.prepare_cached(statements::FIND)?;
        let open = |row: &rusqlite::Row<'_>| {
            let head = row.get(1)?;
            Ok(Document { key: row.get(0)?, head, has_filed: head > 0 })
        };
        Ok(find.query_row([id.as_str()], open).optional()?)
    }

    /// The document, made if there is none.
    pub(super) fn find_or_create(&self, id: &DocumentId) -> Result<Document, StoreError> {
        if let Some(document) = self.find(id)? {
            return Ok(document);
        }
        self.connection.prepare_cached(statements::CREATE)?.execute((id.as_str(), self.now))?;
        let key = self.connection.last_insert_rowid();
        Ok(Document { key, head: 0, has_filed: false })
    }

    /// The document's epoch, and what became of each delta. Makes it if there is none.
    pub(super) fn append(
        &mut self,
        id: &DocumentId,
        deltas: &[EncodedDelta],
    ) -> Result<(Epoch, Vec<Delivery>), StoreError> {
        let mut document = self.find_or_create(id)?;
        let mut deliveries = Vec::with_capacity(deltas.len());
        for delta in deltas {
            if let Some(seq) = self.find_delta(document, delta)? {
                deliveries.push(Delivery::Repeated(Seq(seq.cast_unsigned())));
                continue;
            }
            document.head += 1;
            self.add(document, delta).map_err(|error| match is_taken(&error) {
                true => StoreError::damaged(id, "deltas are stored beyond its last number"),
                false => error.into(),
            })?;
            self.recent.add(id, document, delta.id.clone());
            deliveries.push(Delivery::Stored(Seq(document.head.cast_unsigned())));
        }
        self.appended.insert(document.key);
        Ok((self.epoch(document.key), deliveries))
    }

    /// Adds the delta that becomes the document's head.
    fn add(&mut self, document: Document, delta: &EncodedDelta) -> Result<(), rusqlite::Error> {
        let number = self.add_delta.insert((
            document.key,
            document.head,
            &delta.id,
            delta.client.as_str(),
            &delta.data,
            &delta.clock,
            delta.timestamp,
            self.now,
        ))?;
        self.add_recent.execute((document.key, document.head, number)).map(drop)
    }

    fn find_delta(
        &self,
        document: Document,
        delta: &EncodedDelta,
    ) -> Result<Option<i64>, StoreError> {
        let recent = self.recent.seq(document.key, &delta.id);
        if recent.is_some() || !document.has_filed {
            return Ok(recent);
        }
        let mut find = self.connection.prepare_cached(statements::FIND_FILED_ID)?;
        Ok(find.query_row((document.key, &delta.id), |row| row.get(0)).optional()?)
    }

    /// Whether there was one. Its deltas are left for [`Group::sweep`]: nobody finds them any
    /// more, and to remove many at once would keep all other writers waiting.
    pub(super) fn delete(&mut self, id: &DocumentId) -> Result<bool, StoreError> {
        let Some(Document { key, .. }) = self.find(id)? else {
            return Ok(false);
        };
        self.recent.remove(key);
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

    /// Files documents until only as many deltas as may are left, but for those documents that
    /// can't be. To be called before the end.
    pub(super) fn file_some(
        &mut self,
        recent_max: usize,
        unfilable: &HashSet<i64>,
    ) -> Result<(), Unfilable> {
        for key in std::mem::take(&mut self.appended) {
            let is_due = self.recent.deltas_of(key) > recent_max.min(DOCUMENT_RECENT_MAX);
            if is_due && !unfilable.contains(&key) {
                self.file(key).map_err(|error| Unfilable { key, error })?;
            }
        }
        while self.recent.deltas() > recent_max
            && let Some(key) = self.recent.next(unfilable)
        {
            self.file(key).map_err(|error| Unfilable { key, error })?;
        }
        Ok(())
    }

    /// Files all deltas of the document, if there are some to file.
    pub(super) fn file(&mut self, key: i64) -> Result<(), StoreError> {
        let Some(id) = self.recent.id(key) else {
            return Ok(());
        };
        let mut raised = VectorClock::new();
        row::merge_recent(self.connection, id, key, &mut raised)?;
        let mut raise = self.connection.prepare_cached(statements::RAISE_CLOCK)?;
        for (client, number) in raised.iter() {
            raise.execute((key, client.as_str(), sql::signed(number.0)?))?;
        }
        // The last one takes away what the others look at.
        for statement in [
            statements::FILE,
            statements::FILE_IDS,
            statements::MOVE_HEAD,
            statements::DELETE_RECENT,
        ] {
            self.connection.prepare_cached(statement)?.execute([key])?;
        }
        self.recent.remove(key);
        Ok(())
    }

    /// Removes some deltas of deleted documents; whether there may be more.
    pub(super) fn sweep(&self) -> Result<bool, StoreError> {
        let mut find = self.connection.prepare_cached(statements::FIND_REMOVED)?;
        let Some(key) = find.query_row([], |row| row.get::<_, i64>(0)).optional()? else {
            return Ok(false);
        };
        let mut removed = 0;
        for statement in [statements::SWEEP_RECENT_DELTAS, statements::DELETE_RECENT] {
            removed += self.connection.prepare_cached(statement)?.execute([key])?;
        }
        for statement in
            [statements::SWEEP_FILED_DELTAS, statements::SWEEP_FILED, statements::SWEEP_FILED_IDS]
        {
            removed += self.connection.prepare_cached(statement)?.execute((key, SWEEP_STEP))?;
        }
        if removed == 0 {
            self.connection.prepare_cached(statements::FORGET_REMOVED)?.execute([key])?;
        }
        Ok(true)
    }
}

/// The life of the document with this key.
pub(super) fn epoch(base: u64, key: i64) -> Epoch {
    Epoch(base.saturating_add(key.cast_unsigned()))
}
