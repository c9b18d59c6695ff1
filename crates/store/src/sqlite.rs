//! The SQLite back end: documents and deltas in one file, for one process.
//!
//! No other program has to run. One thread writes, and syncs once for all that queued meanwhile;
//! a few connections read beside it. A second process on the same file is refused.
//!
//! `file` claims the file and opens it; `migrate` brings its schema up to date; `writer` is group
//! commit, `group` and `append` what happens in one transaction, `recent` what is known of the
//! deltas that wait to be filed, `change` what is written besides deltas; `readers` and `read` are
//! the other side; `statements` has the SQL. The schema says how the tables belong together.

mod append;
pub mod backup;
mod change;
mod failure;
mod file;
mod group;
pub mod migrate;
mod read;
mod readers;
mod recent;
mod row;
mod statements;
mod writer;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use synckit_engine::clock::VectorClock;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::{Position, Seq};

use crate::contract::{
    Append, Appended, DeltaPage, DocumentRecord, DocumentStore, Durability, Health, NumberedDelta,
    StorageProvider, StoredSnapshot,
};
use crate::error::{Cause, OpenError, StoreError};
use crate::sql;
pub use crate::sql::CALL_TIMEOUT_DEFAULT;

use append::AppendBatch;
use change::{Compact, CreateDocument, DeleteDocument, SaveSnapshot, TryWrite};
use file::DatabaseFile;
use read::Reads;
use readers::Readers;
use writer::Writer;

/// Deltas that wait to be filed when nothing else is said: enough that each of a few hundred busy
/// documents gathers some, few enough to be read at once when the program starts.
pub const RECENT_MAX_DEFAULT: usize = 16_000;

/// Which file and how to use it.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file. It is made when it isn't there; its directory is not. Beside it stand files of
    /// the same name with `-wal`, `-shm` and `.lock` added; the first belongs to the data.
    pub path: PathBuf,
    /// The deadline of each call, waiting for its turn included.
    pub call_timeout: Duration,
    /// Pages of 4 KiB that the file may have; `None`: as many as the disk has room for.
    pub pages_max: Option<u32>,
    /// Deltas that may wait to be filed. More make writing to many documents faster, reading their
    /// clocks and starting slower.
    pub recent_max: usize,
    /// Whether a start brings the schema up to date. If not, it fails where something is missing.
    pub migrates: bool,
}

impl SqliteOptions {
    /// The defaults for the file at this path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            call_timeout: CALL_TIMEOUT_DEFAULT,
            pages_max: None,
            recent_max: RECENT_MAX_DEFAULT,
            migrates: true,
        }
    }
}

/// Documents in a SQLite file. Dropping it closes the file, which waits for what is queued.
#[derive(Debug)]
pub struct SqliteStore {
    /// Empty until it is initialized.
    opened: OnceLock<Opened>,
}

#[derive(Debug)]
struct Opened {
    file: DatabaseFile,
    reads: Reads,
    /// Closed before the writer, whose connection as the last one tidies the log away.
    readers: Readers,
    writer: Writer,
}

impl Opened {
    fn open(options: &SqliteOptions) -> Result<Self, OpenError> {
        let file = DatabaseFile::claim(&options.path)?;
        let mut connection = file.open_writer()?;
        let ready = match options.migrates {
            true => migrate::run(&mut connection, migrate::MIGRATIONS).map(drop),
            false => migrate::check(&connection, migrate::MIGRATIONS),
        };
        ready.map_err(|error| migrate::in_file(file.path(), error))?;
        file.sync_directory()?;
        if let Some(pages_max) = options.pages_max {
            connection.pragma_update_and_check(None, "max_page_count", pages_max, |_| Ok(()))?;
        }
        let epoch_base =
            connection.query_row(statements::EPOCH_BASE, [], |row| Ok(row::unsigned(row, 0)))??;
        let readers = Readers::open(file.clone(), options.call_timeout)?;
        file.note_opened();
        let writer = Writer::start(file.clone(), connection, epoch_base, options)?;
        Ok(Self { file, reads: Reads { epoch_base }, readers, writer })
    }
}

impl SqliteStore {
    fn opened(&self) -> Result<&Opened, StoreError> {
        let closed = || StoreError::unavailable(Cause::Unreachable, "the file is not open");
        self.opened.get().ok_or_else(closed)
    }
}

#[async_trait]
impl DocumentStore for SqliteStore {
    fn durability(&self) -> Durability {
        Durability::Disk
    }

    async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let encoded = AppendBatch::encode(batch)?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.opened()?.writer.run(encoded).await
    }

    async fn get(&self, id: &DocumentId) -> Result<Option<DocumentRecord>, StoreError> {
        let Opened { reads, readers, .. } = self.opened()?;
        let (reads, id) = (*reads, id.clone());
        readers.run(move |connection, _| reads.get(connection, &id)).await
    }

    async fn get_or_create(&self, id: &DocumentId) -> Result<DocumentRecord, StoreError> {
        let create = || async { self.opened()?.writer.run(CreateDocument(id.clone())).await };
        sql::get_or_create(self, id, create).await
    }

    async fn exists(&self, id: &DocumentId) -> Result<bool, StoreError> {
        Ok(self.heads(std::slice::from_ref(id)).await?.iter().any(Option::is_some))
    }

    async fn delete(&self, id: &DocumentId) -> Result<bool, StoreError> {
        self.opened()?.writer.run(DeleteDocument(id.clone())).await
    }

    async fn document_ids(
        &self,
        limit: usize,
        after: Option<&DocumentId>,
    ) -> Result<Vec<DocumentId>, StoreError> {
        let after = after.map_or("", DocumentId::as_str).to_owned();
        let readers = &self.opened()?.readers;
        readers.run(move |connection, _| read::document_ids(connection, limit, &after)).await
    }

    async fn deltas_after(
        &self,
        id: &DocumentId,
        after: Position,
    ) -> Result<DeltaPage, StoreError> {
        let Opened { reads, readers, .. } = self.opened()?;
        let (reads, id) = (*reads, id.clone());
        readers
            .run(move |connection, deadline| reads.deltas_after(connection, &id, after, deadline))
            .await
    }

    async fn deltas_since(
        &self,
        id: &DocumentId,
        since: Option<&VectorClock>,
        after: Seq,
    ) -> Result<Vec<NumberedDelta>, StoreError> {
        let Opened { reads, readers, .. } = self.opened()?;
        let (reads, id, since) = (*reads, id.clone(), since.cloned());
        readers
            .run(move |connection, deadline| {
                reads.deltas_since(connection, &id, since.as_ref(), after, deadline)
            })
            .await
    }

    async fn vector_clock(&self, id: &DocumentId) -> Result<VectorClock, StoreError> {
        let Opened { reads, readers, .. } = self.opened()?;
        let (reads, id) = (*reads, id.clone());
        readers.run(move |connection, _| reads.vector_clock(connection, &id)).await
    }

    async fn save_snapshot(
        &self,
        id: &DocumentId,
        snapshot: &StoredSnapshot,
    ) -> Result<bool, StoreError> {
        let work = SaveSnapshot { document: id.clone(), snapshot: snapshot.clone() };
        self.opened()?.writer.run(work).await?
    }

    async fn snapshot(&self, id: &DocumentId) -> Result<Option<StoredSnapshot>, StoreError> {
        let Opened { reads, readers, .. } = self.opened()?;
        let (reads, id) = (*reads, id.clone());
        readers.run(move |connection, _| reads.snapshot(connection, &id)).await
    }

    async fn compact(
        &self,
        id: &DocumentId,
        up_to: &VectorClock,
        stored_before: Option<SystemTime>,
    ) -> Result<u64, StoreError> {
        let writer = &self.opened()?.writer;
        let (mut removed, mut epoch, mut after) = (0, None, 0);
        loop {
            let step =
                Compact { document: id.clone(), epoch, up_to: up_to.clone(), stored_before, after };
            let done = writer.run(step).await?;
            removed += done.removed;
            match done.next {
                Some((begun, last)) => (epoch, after) = (Some(begun), last),
                None => return Ok(removed),
            }
        }
    }

    async fn heads(&self, ids: &[DocumentId]) -> Result<Vec<Option<Position>>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let Opened { reads, readers, .. } = self.opened()?;
        let (reads, ids) = (*reads, ids.to_vec());
        readers.run(move |connection, _| reads.heads(connection, &ids)).await
    }
}

/// The back end `sqlite`.
#[derive(Debug)]
pub struct SqliteProvider {
    documents: SqliteStore,
    options: SqliteOptions,
}

impl SqliteProvider {
    /// Touches no file yet.
    #[must_use]
    pub fn new(options: SqliteOptions) -> Self {
        Self { documents: SqliteStore { opened: OnceLock::new() }, options }
    }
}

#[async_trait]
impl StorageProvider for SqliteProvider {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn documents(&self) -> &dyn DocumentStore {
        &self.documents
    }

    async fn initialize(&self) -> Result<(), OpenError> {
        if self.documents.opened.get().is_some() {
            return Ok(());
        }
        let options = self.options.clone();
        let opened = tokio::task::spawn_blocking(move || Opened::open(&options))
            .await
            .map_err(|_| migrate::stopped())??;
        // Another call can't have been faster: the file is locked.
        let _ = self.documents.opened.set(opened);
        Ok(())
    }

    async fn check_health(&self) -> Result<Health, StoreError> {
        let start = Instant::now();
        let Opened { file, readers, writer, .. } = self.documents.opened()?;
        writer.check()?;
        let file = file.clone();
        let writable = readers
            .run(move |connection, _| {
                let mut ping = connection.prepare_cached(statements::PING)?;
                ping.query_row([], |_| Ok(()))?;
                Ok(file.check_place().and_then(|()| file.check_room()))
            })
            .await?;
        let writes_refused = match writable {
            Err(StoreError::Unavailable(refused)) => Some(refused),
            other => {
                other?;
                None
            }
        };
        Ok(Health { latency: start.elapsed(), writes_refused })
    }

    async fn try_write(&self) -> Result<(), StoreError> {
        self.documents.opened()?.writer.run(TryWrite).await
    }
}
