//! Brings the schema up to date. The file belongs to this process, so there is nobody to wait for.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use crate::error::{Cause, OpenError, StoreError};
use crate::migrations::{AppliedMigration, Migration, MigrationStatus, pending};

use super::file::{APPLICATION_ID, DatabaseFile, look_into};
use super::row;

/// The files of `migrations/sqlite/`, in order.
pub const MIGRATIONS: &[Migration] = &[Migration {
    version: "001_initial_schema",
    sql: include_str!("../../migrations/sqlite/001_initial_schema.sql"),
}];

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (\
    version TEXT PRIMARY KEY, \
    applied_at INTEGER NOT NULL, \
    checksum TEXT NOT NULL) STRICT, WITHOUT ROWID";

const HAS_TABLE: &str =
    "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'";

const HAS_OLDEST: &str =
    "SELECT count(*) FROM pragma_table_info('schema_migrations') WHERE name = 'oldest_program'";

const ADD_OLDEST: &str = "ALTER TABLE schema_migrations ADD COLUMN oldest_program INTEGER";

const APPLIED: &str = "SELECT version, checksum, applied_at, oldest_program FROM schema_migrations \
    ORDER BY version";

/// Where no migration has said yet which programs can live with it.
const APPLIED_BEFORE: &str =
    "SELECT version, checksum, applied_at, NULL FROM schema_migrations ORDER BY version";

const RECORD: &str = "INSERT INTO schema_migrations (version, checksum, applied_at, oldest_program) \
    VALUES (?1, ?2, ?3, ?4)";

/// Reads and changes the schema of one file.
#[derive(Debug, Clone)]
pub struct Migrator {
    path: PathBuf,
    known: &'static [Migration],
}

impl Migrator {
    /// For the file at this path; touches nothing yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), known: MIGRATIONS }
    }

    /// Uses these files instead of those that are built in.
    #[must_use]
    pub fn with_migrations(self, known: &'static [Migration]) -> Self {
        Self { known, ..self }
    }

    /// What the file has and lacks, also while another process uses it. Changes nothing; a file
    /// that isn't there lacks everything.
    ///
    /// # Errors
    /// [`OpenError::Schema`] when this program can't work with what is there;
    /// [`OpenError::Configuration`] when the path is none of a file that it can read.
    pub async fn status(&self) -> Result<MigrationStatus, OpenError> {
        self.on_a_thread(|path, known| {
            let applied = match look_into(path)? {
                Some(connection) => applied(&connection)?,
                None => Vec::new(),
            };
            let pending = pending(known, &applied).map_err(|error| in_file(path, error))?;
            Ok(MigrationStatus { applied, pending })
        })
        .await
    }

    /// What [`Migrator::run`] would apply. Changes nothing.
    ///
    /// # Errors
    /// As [`Migrator::status`].
    pub async fn plan(&self) -> Result<Vec<Migration>, OpenError> {
        Ok(self.status().await?.pending)
    }

    /// Applies what is missing; the answer names it. Makes the file when there is none.
    ///
    /// # Errors
    /// As [`Migrator::status`]; [`OpenError::Configuration`] while another process uses the file;
    /// whatever SQLite says about a migration. Those before it stay applied.
    pub async fn run(&self) -> Result<Vec<Migration>, OpenError> {
        self.on_a_thread(|path, known| {
            let file = DatabaseFile::claim(path)?;
            let mut connection = file.open_writer()?;
            let migrations = run(&mut connection, known).map_err(|error| in_file(path, error))?;
            file.sync_directory()?;
            Ok(migrations)
        })
        .await
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path, &'static [Migration]) -> Result<T, OpenError> + Send + 'static,
    ) -> Result<T, OpenError> {
        let Self { path, known } = self.clone();
        tokio::task::spawn_blocking(move || work(&path, known)).await.map_err(|_| stopped())?
    }
}

/// Only a panic on the thread that opens a file.
pub(super) fn stopped() -> OpenError {
    StoreError::unavailable(Cause::Interrupted, "opening the file has stopped").into()
}

/// Says whose schema it is.
pub(super) fn in_file(path: &Path, error: OpenError) -> OpenError {
    match error {
        OpenError::Schema(text) => OpenError::Schema(format!("{}: {text}", path.display())),
        other => other,
    }
}

/// Fails when something out of `known` is missing. Changes nothing.
pub(super) fn check(connection: &Connection, known: &[Migration]) -> Result<(), OpenError> {
    let applied = applied(connection)?;
    let pending = pending(known, &applied)?;
    MigrationStatus { applied, pending }.check()
}

/// Applies what is missing out of `known`; the answer names it. Each migration is one transaction.
pub(super) fn run(
    connection: &mut Connection,
    known: &'static [Migration],
) -> Result<Vec<Migration>, OpenError> {
    let pending = pending(known, &applied(connection)?)?;
    for migration in &pending {
        apply(connection, migration).map_err(|error| migration.failed(error.into()))?;
        tracing::info!(migration = migration.version, "applied a migration");
    }
    Ok(pending)
}

fn applied(connection: &Connection) -> Result<Vec<AppliedMigration>, StoreError> {
    let tables: i64 = connection.query_row(HAS_TABLE, [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(Vec::new());
    }
    let statement = if has_oldest(connection)? { APPLIED } else { APPLIED_BEFORE };
    let mut statement = connection.prepare(statement)?;
    let mut rows = statement.query([])?;
    let mut applied = Vec::new();
    while let Some(row) = rows.next()? {
        applied.push(AppliedMigration {
            version: row.get(0)?,
            checksum: row.get(1)?,
            applied_at: row::time(row, 2)?,
            oldest_program: row.get(3)?,
        });
    }
    Ok(applied)
}

fn has_oldest(connection: &Connection) -> Result<bool, rusqlite::Error> {
    connection.query_row(HAS_OLDEST, [], |row| row.get::<_, i64>(0)).map(|columns| columns > 0)
}

/// The mark goes into the file with its first tables: one without both is taken for new.
fn apply(connection: &mut Connection, migration: &Migration) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.execute_batch(CREATE_TABLE)?;
    if !has_oldest(&transaction)? {
        transaction.execute_batch(ADD_OLDEST)?;
    }
    transaction.execute_batch(migration.sql)?;
    let oldest = migration.oldest_program();
    transaction.execute(RECORD, (migration.version, migration.checksum(), row::now(), oldest))?;
    transaction.commit()
}
