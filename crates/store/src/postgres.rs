//! The PostgreSQL back end: documents and deltas in the tables of `migrations/`.
//!
//! The store keeps nothing in memory but connections, so any number of processes may use one
//! database. `statements` has all the SQL; `session` the pool and the deadlines; `hosts`, `connect`
//! and [`tls`] the way to the server; `append` the write path; `schema`, `find_schema` and
//! [`migrate`] the schema.

mod append;
mod cancel;
mod connect;
pub mod connection_string;
mod failure;
mod find_schema;
mod hosts;
pub mod migrate;
mod read;
mod schema;
mod session;
mod statements;
pub mod tls;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use synckit_engine::clock::VectorClock;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Epoch, Position, Seq};

use crate::contract::{
    Append, Appended, DeltaPage, DocumentRecord, DocumentStore, Durability, Health, Identity,
    NumberedDelta, PAGE_DELTAS_MAX, StorageProvider, StoredSnapshot,
};
use crate::error::{Cause, OpenError, StoreError};
use crate::sql;
pub use crate::sql::CALL_TIMEOUT_DEFAULT;

use connection_string::ConnectionSettings;
use migrate::Migrator;
use session::{Connections, Parameters};

/// Connections when nothing else is said.
pub const POOL_MAX_DEFAULT: usize = 10;

/// Those of them that only appends use, when nothing else is said.
pub const WRITERS_DEFAULT: usize = 2;

/// As the statements take it.
const PAGE_BYTES_MAX: i64 = sql::PAGE_BYTES_MAX as i64;

/// Deltas that one statement of a compaction looks at. Each has the deadline of a call, so a
/// document of any length is compacted in the end.
const COMPACTION_STEP: i64 = 10_000;

/// Where the database is and how to use it.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Address, credentials and TLS. Keepalives and timeouts that it doesn't set are set.
    pub connection: ConnectionSettings,
    /// Connections at most, but for the few that cancel calls.
    pub pool_max: usize,
    /// Of these, how many are kept for appends: at least one, and at least one is left for the rest.
    pub writers: usize,
    /// Connections that are opened at the start.
    pub pool_min: usize,
    /// The deadline of each call, waiting for a connection included.
    pub call_timeout: Duration,
    /// Whether a start brings the schema up to date. If not, it fails where something is missing.
    pub migrates: bool,
}

impl PostgresOptions {
    /// The defaults for the database at this address.
    #[must_use]
    pub fn new(connection: ConnectionSettings) -> Self {
        Self {
            connection,
            pool_max: POOL_MAX_DEFAULT,
            writers: WRITERS_DEFAULT,
            pool_min: 0,
            call_timeout: CALL_TIMEOUT_DEFAULT,
            migrates: true,
        }
    }
}

/// Where [`statements::GET`] has the number of the history.
const HISTORY_COLUMN: usize = 7;

fn no_origin() -> StoreError {
    let reason = "the table store_origin is empty; put back its one row from a backup, or add one";
    StoreError::unavailable(Cause::SchemaMissing, reason)
}

/// Documents in PostgreSQL.
#[derive(Debug)]
pub struct PostgresStore {
    connections: Connections,
    /// The number of the history that was seen last.
    history: Arc<AtomicU64>,
}

impl PostgresStore {
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
        self.history.store(read::unsigned(row, HISTORY_COLUMN)?, Ordering::Relaxed);
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

/// The back end `postgresql`.
#[derive(Debug)]
pub struct PostgresProvider {
    documents: PostgresStore,
    connections: Connections,
    pool_min: usize,
    migrates: bool,
}

impl PostgresProvider {
    /// Checks the options and reads the certificates; connects to nothing yet.
    ///
    /// # Errors
    /// [`OpenError::Configuration`] for a pool that leaves no connection to writers or to readers,
    /// and for certificates that can't be read.
    pub fn new(options: &PostgresOptions) -> Result<Self, OpenError> {
        let PostgresOptions { pool_min, pool_max, writers, .. } = *options;
        if writers == 0 || writers >= pool_max || pool_min > pool_max {
            return Err(OpenError::Configuration(format!(
                "a pool of {pool_min} to {pool_max} connections, {writers} of them for appends"
            )));
        }
        let connections = Connections::new(options)?;
        let documents = PostgresStore { connections: connections.clone(), history: Arc::default() };
        let PostgresOptions { pool_min, migrates, .. } = *options;
        Ok(Self { documents, connections, pool_min, migrates })
    }

    /// The schema of the database.
    #[must_use]
    pub fn migrator(&self) -> Migrator {
        Migrator::new(self.connections.clone(), migrate::MIGRATIONS)
    }

    async fn check_server(&self) -> Result<(), OpenError> {
        let rows = self.connections.rows(statements::SERVER, &[]).await?;
        let Some(row) = rows.first() else {
            return Err(OpenError::Configuration("the server does not say what it is".into()));
        };
        let (version, encoding): (i32, &str) = (row.try_get(0)?, row.try_get(1)?);
        if version < 120_000 {
            let text = format!("PostgreSQL 12 or newer is needed, this is {version}");
            return Err(OpenError::Configuration(text));
        }
        if encoding != "UTF8" {
            let text = format!("the database's encoding must be UTF8, it is {encoding}");
            return Err(OpenError::Configuration(text));
        }
        Ok(())
    }
}

#[async_trait]
impl StorageProvider for PostgresProvider {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    fn documents(&self) -> &dyn DocumentStore {
        &self.documents
    }

    async fn initialize(&self) -> Result<(), OpenError> {
        self.check_server().await?;
        match self.migrates {
            true => self.migrator().run().await.map(drop)?,
            false => self.migrator().check().await?,
        }
        Ok(self.connections.warm(self.pool_min).await?)
    }

    async fn identity(&self) -> Result<Identity, StoreError> {
        let rows = self.connections.rows(statements::IDENTITY, &[]).await?;
        let Some(row) = rows.first() else { return Err(no_origin()) };
        let number = |column| row.try_get::<_, i64>(column).map(i64::cast_unsigned);
        let history = number(0)?;
        self.documents.history.store(history, Ordering::Relaxed);
        Ok(Identity {
            history,
            tables: Some([number(1)?, number(2)?, number(3)?]),
            file: number(4)?,
        })
    }

    async fn begin_history(&self, seen: u64) -> Result<(), StoreError> {
        let seen = sql::signed(seen)?;
        self.connections.execute(statements::BEGIN_HISTORY, &[&seen]).await.map(drop)
    }

    fn waits_for(&self) -> Option<String> {
        self.connections.facts().waiting.lock().clone()
    }

    async fn check_health(&self) -> Result<Health, StoreError> {
        let start = Instant::now();
        let look = async {
            let session = self.connections.looking_session().await?;
            let rows = session.rows(statements::LOOK, &[]).await?;
            session.release();
            Ok::<_, StoreError>(rows)
        };
        let rows = self.connections.within(look).await?;
        let latency = start.elapsed();
        let writes_refused = rows.first().map(read::refusal).transpose()?.flatten();
        Ok(Health { latency, writes_refused })
    }

    async fn try_write(&self) -> Result<(), StoreError> {
        let write = async {
            let session = self.connections.writing_session().await?;
            let write = session.ready(statements::TRY_WRITE).await?;
            // Another on every try, so that two nodes don't wait for each other.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let place = i64::try_from(now.as_nanos()).unwrap_or_default();
            let parameters: Parameters<'_> = &[&place, &place];
            // Taken back with no right but that of an append; the commit has all the same something
            // to write, and to wait for.
            let (begun, marked, written, undone, committed) = tokio::join!(
                biased;
                session.begin(),
                session.run("SAVEPOINT try_write"),
                session.count(&write, parameters),
                session.run("ROLLBACK TO SAVEPOINT try_write"),
                session.commit(),
            );
            begun?;
            marked?;
            written?;
            undone?;
            committed?;
            session.release();
            Ok(())
        };
        self.connections.within(write).await
    }
}
