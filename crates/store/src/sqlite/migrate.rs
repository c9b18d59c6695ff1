//! Brings the schema up to date. The file belongs to this process, so there is nobody to wait for.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;
use crate::migrations::{AppliedMigration, Migration, pending};

use super::file::APPLICATION_ID;
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

const APPLIED: &str =
    "SELECT version, checksum, applied_at FROM schema_migrations ORDER BY version";

const RECORD: &str =
    "INSERT INTO schema_migrations (version, checksum, applied_at) VALUES (?1, ?2, ?3)";

/// Applies what is missing out of `known`; the answer names it. Each migration is one transaction.
pub(super) fn run(
    connection: &mut Connection,
    known: &'static [Migration],
) -> Result<Vec<Migration>, StoreError> {
    let pending = pending(known, &applied(connection)?)?;
    for migration in &pending {
        apply(connection, migration).map_err(|error| {
            StoreError::Schema(format!("migration {}: {error}", migration.version))
        })?;
        tracing::info!(migration = migration.version, "applied a migration");
    }
    Ok(pending)
}

fn applied(connection: &Connection) -> Result<Vec<AppliedMigration>, StoreError> {
    let tables: i64 = connection.query_row(HAS_TABLE, [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare(APPLIED)?;
    let mut rows = statement.query([])?;
    let mut applied = Vec::new();
    while let Some(row) = rows.next()? {
        applied.push(AppliedMigration {
            version: row.get(0)?,
            checksum: row.get(1)?,
            applied_at: row::time(row, 2)?,
        });
    }
    Ok(applied)
}

/// The mark goes into the file with its first tables: one without both is taken for new.
fn apply(connection: &mut Connection, migration: &Migration) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.execute_batch(CREATE_TABLE)?;
    transaction.execute_batch(migration.sql)?;
    transaction.execute(RECORD, (migration.version, migration.checksum(), row::now()))?;
    transaction.commit()
}
