//! What is written besides deltas.

use std::time::SystemTime;

use rusqlite::OptionalExtension as _;
use synckit_engine::clock::VectorClock;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Epoch, Seq};

use crate::contract::StoredSnapshot;
use crate::error::StoreError;
use crate::sql;

use super::group::Group;
use super::recent::Document;
use super::row::{self, StoredId};
use super::statements;
use super::writer::Work;

/// Numbers that one step of a compaction looks at: a few milliseconds, which writers share.
const COMPACTION_STEP: i64 = 1_000;

pub(super) struct CreateDocument(pub(super) DocumentId);

impl Work for CreateDocument {
    type Output = ();

    fn run(&self, group: &mut Group<'_>) -> Result<(), StoreError> {
        group.find_or_create(&self.0).map(drop)
    }
}

pub(super) struct DeleteDocument(pub(super) DocumentId);

impl Work for DeleteDocument {
    type Output = bool;

    fn run(&self, group: &mut Group<'_>) -> Result<bool, StoreError> {
        group.delete(&self.0)
    }
}

/// Needs pages of its own for a moment, in the log and in the file.
pub(super) struct TryWrite;

impl Work for TryWrite {
    type Output = ();

    fn run(&self, group: &mut Group<'_>) -> Result<(), StoreError> {
        Ok(group.connection().execute_batch(statements::TRY_WRITE)?)
    }
}

pub(super) struct SaveSnapshot {
    pub(super) document: DocumentId,
    pub(super) snapshot: StoredSnapshot,
}

impl Work for SaveSnapshot {
    /// The inner error is the answer to a wrong question and no reason to take the group back.
    type Output = Result<bool, StoreError>;

    fn run(&self, group: &mut Group<'_>) -> Result<Self::Output, StoreError> {
        let position = self.snapshot.position;
        let (key, head) = match group.find(&self.document)? {
            Some(document) => (document.key, document.head),
            None => return Ok(Ok(false)),
        };
        if group.epoch(key) != position.epoch {
            return Ok(Ok(false));
        }
        let seq = i64::try_from(position.seq.0).unwrap_or(i64::MAX);
        if seq > head {
            let head = Seq(head.cast_unsigned());
            return Ok(Err(StoreError::snapshot_ahead(&self.document, position.seq, head)));
        }
        let connection = group.connection();
        let mut newest = connection.prepare_cached(statements::SNAPSHOT_SEQ)?;
        let newest: Option<i64> = newest.query_row([key], |row| row.get(0)).optional()?;
        if newest > Some(seq) {
            return Ok(Ok(false));
        }
        let clock = sql::clock_json(&self.snapshot.clock)?;
        connection.prepare_cached(statements::SAVE_SNAPSHOT)?.execute((
            key,
            seq,
            clock,
            &self.snapshot.bytes,
        ))?;
        Ok(Ok(true))
    }

    fn bytes(&self) -> usize {
        self.snapshot.bytes.len()
    }
}

/// One step of a compaction.
pub(super) struct Compact {
    pub(super) document: DocumentId,
    /// The life that the compaction began in.
    pub(super) epoch: Option<Epoch>,
    pub(super) up_to: VectorClock,
    pub(super) stored_before: Option<SystemTime>,
    /// Where the step before ended.
    pub(super) after: i64,
}

/// What a step did and where the next one goes on.
pub(super) struct Compacted {
    pub(super) removed: u64,
    pub(super) next: Option<(Epoch, i64)>,
}

impl Work for Compact {
    type Output = Compacted;

    fn run(&self, group: &mut Group<'_>) -> Result<Compacted, StoreError> {
        let end = Compacted { removed: 0, next: None };
        let Some(Document { key, .. }) = group.find(&self.document)? else {
            return Ok(end);
        };
        let epoch = group.epoch(key);
        if self.epoch.is_some_and(|begun| begun != epoch) {
            return Ok(end);
        }
        group.file(key)?;
        let connection = group.connection();
        let number = |statement: &str, parameters: &[i64]| -> Result<Option<i64>, StoreError> {
            let mut statement = connection.prepare_cached(statement)?;
            let parameters = rusqlite::params_from_iter(parameters);
            Ok(statement.query_row(parameters, |row| row.get(0)).optional()?)
        };
        let Some(covered) = number(statements::SNAPSHOT_SEQ, &[key])? else {
            return Ok(end);
        };
        // What earlier compactions removed is jumped over.
        let first = match number(statements::FIRST_FILED_AFTER, &[key, self.after])? {
            Some(first) if first <= covered => first,
            _ => return Ok(end),
        };
        let last = first.saturating_add(COMPACTION_STEP - 1).min(covered);
        let mut clocks = connection.prepare_cached(statements::CLOCKS_BETWEEN)?;
        let before = self.stored_before.map_or(i64::MAX, row::micros);
        let mut rows = clocks.query((key, first - 1, last, before))?;
        let mut seen = Vec::new();
        while let Some(row) = rows.next()? {
            let (_, clock) = row::authorship(&self.document, row, None)?;
            if self.up_to.covers(&clock) {
                seen.push((row.get(2)?, row.get(3)?, row.get(4)?));
            }
        }
        let mut delete = connection.prepare_cached(statements::DELETE_DELTA)?;
        let mut delete_filed = connection.prepare_cached(statements::DELETE_FILED)?;
        let mut delete_id = connection.prepare_cached(statements::DELETE_FILED_ID)?;
        for (number, seq, id) in &seen {
            let (number, seq, id): (&i64, &i64, &StoredId) = (number, seq, id);
            delete.execute([number])?;
            delete_filed.execute((key, seq))?;
            delete_id.execute((key, id))?;
        }
        Ok(Compacted { removed: seen.len() as u64, next: Some((epoch, last)) })
    }
}
