//! Documents in the tables: reading, snapshots, compaction, deletion. Writing is in `append`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use synckit_engine::clock::VectorClock;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Epoch, Position, Seq};

use crate::contract::{
    Append, Appended, DeltaPage, DocumentRecord, DocumentStore, Durability, NumberedDelta,
    PAGE_DELTAS_MAX, StoredSnapshot,
};
use crate::error::{Cause, StoreError};
use crate::sql;

use super::pool::Connections;
use super::session::Parameters;
use super::{append, read, statements};

/// As the statements take it.
const PAGE_BYTES_MAX: i64 = sql::PAGE_BYTES_MAX as i64;

/// Deltas that one statement of a compaction looks at. Each has the deadline of a call, so a
/// document of any length is compacted in the end.
const COMPACTION_STEP: i64 = 10_000;

/// Where [`statements::GET`] has the number of the history.
const HISTORY_COLUMN: usize = 7;

pub(super) fn no_origin() -> StoreError {
    let reason = "the table store_origin is empty; put back its one row from a backup, or add one";
    StoreError::unavailable(Cause::SchemaMissing, reason)
}

/// Documents in PostgreSQL.
#[derive(Debug)]
pub(super) struct PostgresStore {
    connections: Connections,
    /// The number of the history that was seen last.
    history: Arc<AtomicU64>,
}

impl PostgresStore {
    pub(super) fn new(connections: Connections) -> Self {
        Self { connections, history: Arc::default() }
    }

    /// Takes note of the history that was seen.
    pub(super) fn saw(&self, history: u64) {
        self.history.store(history, Ordering::Relaxed);
    }

    async fn positions(&self, ids: &[&str]) -> Result<HashMap<String, Position>, StoreError> {
        let rows = self.connections.rows(statements::HEADS, &[&ids]).await?;
        let position = |row: &tokio_postgres::Row| {
            let epoch = Epoch(read::unsigned(row, 1)?);
            let seq = Seq(read::unsigned(row, 2)?);
            Ok((row.try_get(0)?, Position { epoch, seq }))
        };
        rows.iter().map(position).collect()
    }
}

#[async_trait]
impl DocumentStore for PostgresStore {
    fn durability(&self) -> Durability {
        Durability::Server
    }

    fn history(&self) -> Epoch {
        Epoch(self.history.load(Ordering::Relaxed))
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        append::append(&self.connections, batch).await
    }

    async fn get(&self, id: &DocumentId) -> Result<Option<DocumentRecord>, StoreError> {
        let rows = self.connections.rows(statements::GET, &[&id.as_str()]).await?;
        let Some(row) = rows.first() else { return Err(no_origin()) };
        self.saw(read::unsigned(row, HISTORY_COLUMN)?);
        let is_there = row.try_get::<_, Option<i64>>(0)?.is_some();
        is_there.then(|| read::record(id, row)).transpose()
    }

    async fn get_or_create(&self, id: &DocumentId) -> Result<DocumentRecord, StoreError> {
        let create =
            async || self.connections.execute(statements::CREATE, &[&id.as_str()]).await.map(drop);
        self.connections.within(sql::get_or_create(self, id, create)).await
    }

    async fn exists(&self, id: &DocumentId) -> Result<bool, StoreError> {
        let rows = self.connections.rows(statements::EXISTS, &[&id.as_str()]).await?;
        Ok(!rows.is_empty())
    }

    async fn delete(&self, id: &DocumentId) -> Result<bool, StoreError> {
        let delete = async {
            let session = self.connections.session().await?;
            let document = session.ready(statements::DELETE).await?;
            let deltas = session.ready(statements::DELETE_DELTAS).await?;
            let parameters: Parameters<'_> = &[&id.as_str()];
            let (begun, document, deltas, committed) = tokio::join!(
                biased;
                session.begin(),
                session.count(&document, parameters),
                session.count(&deltas, parameters),
                session.commit(),
            );
            begun?;
            let count = document?;
            deltas?;
            committed?;
            session.release();
            Ok(count > 0)
        };
        self.connections.within(delete).await
    }

    async fn document_ids(
        &self,
        limit: usize,
        after: Option<&DocumentId>,
    ) -> Result<Vec<DocumentId>, StoreError> {
        let after = after.map_or("", DocumentId::as_str);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.connections.rows(statements::DOCUMENT_IDS, &[&after, &limit]).await?;
        let id = |row: &tokio_postgres::Row| sql::document_id(row.try_get(0)?);
        rows.iter().map(id).collect()
    }

    async fn deltas_after(
        &self,
        id: &DocumentId,
        after: Position,
    ) -> Result<DeltaPage, StoreError> {
        let (Ok(epoch), Ok(seq)) = (sql::signed(after.epoch.0), sql::signed(after.seq.0)) else {
            return Ok(DeltaPage::OtherEpoch);
        };
        let limit = PAGE_DELTAS_MAX as i64;
        let parameters: Parameters<'_> = &[&id.as_str(), &epoch, &seq, &limit, &PAGE_BYTES_MAX];
        let mut document = None;
        let read = |row: &tokio_postgres::Row| {
            if row.try_get::<_, Option<i64>>(0)?.is_none() {
                return read::delta(id, row, 2).map(Some);
            }
            document = Some((Epoch(read::unsigned(row, 0)?), Seq(read::unsigned(row, 1)?)));
            Ok(None)
        };
        let rows = self.connections.read_rows(statements::DELTAS_AFTER, parameters, read).await?;
        let head = match document {
            Some((epoch, head)) if epoch == after.epoch => head,
            _ => return Ok(DeltaPage::OtherEpoch),
        };
        let mut stored: Vec<NumberedDelta> = rows.into_iter().flatten().collect();
        stored.sort_unstable_by_key(|numbered| numbered.seq);
        Ok(DeltaPage::from_stored(stored, after.seq, head))
    }

    async fn deltas_since(
        &self,
        id: &DocumentId,
        since: Option<&VectorClock>,
        after: Seq,
    ) -> Result<Vec<NumberedDelta>, StoreError> {
        let since = since.map(sql::clock_json).transpose()?;
        let after = i64::try_from(after.0).unwrap_or(i64::MAX);
        let limit = PAGE_DELTAS_MAX as i64;
        let parameters: Parameters<'_> = &[&id.as_str(), &since, &after, &limit, &PAGE_BYTES_MAX];
        let read = |row: &tokio_postgres::Row| read::delta(id, row, 0);
        self.connections.read_rows(statements::DELTAS_SINCE, parameters, read).await
    }

    async fn vector_clock(&self, id: &DocumentId) -> Result<VectorClock, StoreError> {
        let rows = self.connections.rows(statements::VECTOR_CLOCK, &[&id.as_str()]).await?;
        match rows.first() {
            Some(row) => sql::clock(id, row.try_get(0)?),
            None => Ok(VectorClock::new()),
        }
    }

    async fn save_snapshot(
        &self,
        id: &DocumentId,
        snapshot: &StoredSnapshot,
    ) -> Result<bool, StoreError> {
        let position = snapshot.position;
        let (epoch, seq) = (sql::signed(position.epoch.0)?, sql::signed(position.seq.0)?);
        let clock = sql::clock_json(&snapshot.clock)?;
        let save = async {
            let parameters: Parameters<'_> = &[&id.as_str(), &epoch, &seq, &snapshot.bytes, &clock];
            if self.connections.execute(statements::SAVE_SNAPSHOT, parameters).await? > 0 {
                return Ok(true);
            }
            match self.positions(&[id.as_str()]).await?.get(id.as_str()) {
                Some(head) if head.epoch == position.epoch && head.seq < position.seq => {
                    Err(StoreError::snapshot_ahead(id, position.seq, head.seq))
                }
                _ => Ok(false),
            }
        };
        self.connections.within(save).await
    }

    async fn snapshot(&self, id: &DocumentId) -> Result<Option<StoredSnapshot>, StoreError> {
        let rows = self.connections.rows(statements::SNAPSHOT, &[&id.as_str()]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let epoch = Epoch(read::unsigned(row, 0)?);
        read::snapshot(id, epoch, row.try_get(1)?, row, 2).map(Some)
    }

    async fn compact(
        &self,
        id: &DocumentId,
        up_to: &VectorClock,
        stored_before: Option<SystemTime>,
    ) -> Result<u64, StoreError> {
        let up_to = sql::clock_json(up_to)?;
        let id = id.as_str();
        let rows = self.connections.rows(statements::COMPACTION_RANGE, &[&id]).await?;
        let Some(row) = rows.first() else {
            return Ok(0);
        };
        let epoch: i64 = row.try_get(0)?;
        let covered = row.try_get(1)?;
        let Some(mut from) = row.try_get::<_, Option<i64>>(2)? else {
            return Ok(0);
        };
        let mut removed = 0;
        while from < covered {
            let to = from.saturating_add(COMPACTION_STEP).min(covered);
            let parameters: Parameters<'_> = &[&id, &epoch, &up_to, &from, &to, &stored_before];
            removed += self.connections.execute(statements::COMPACT, parameters).await?;
            from = to;
        }
        Ok(removed)
    }

    async fn claim_compaction(
        &self,
        id: &DocumentId,
        holder: &str,
        time: Duration,
    ) -> Result<bool, StoreError> {
        let seconds = time.as_secs_f64();
        let parameters: Parameters<'_> = &[&id.as_str(), &holder, &seconds];
        Ok(self.connections.execute(statements::CLAIM_COMPACTION, parameters).await? > 0)
    }

    async fn heads(&self, ids: &[DocumentId]) -> Result<Vec<Option<Position>>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = ids.iter().map(DocumentId::as_str).collect();
        let positions = self.positions(&names).await?;
        Ok(names.iter().map(|name| positions.get(*name).copied()).collect())
    }
}
