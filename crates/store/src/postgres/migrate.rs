//! Brings the schema up to date, however many processes start at once.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::error::{OpenError, StoreError};
use crate::migrations::{AppliedMigration, Migration, MigrationStatus, pending};

use super::session::{Connections, Session};
use super::statements::Statement;

/// The files of `migrations/`, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: "001_initial_schema",
        sql: include_str!("../../migrations/001_initial_schema.sql"),
    },
    Migration {
        version: "002_clocks_and_ids",
        sql: include_str!("../../migrations/002_clocks_and_ids.sql"),
    },
    Migration {
        version: "003_store_history",
        sql: include_str!("../../migrations/003_store_history.sql"),
    },
];

/// Identifies the lock among those of other programs in the same database.
const LOCK_KEY: i64 = 0x5379_6e63_4b69_7401;

/// How long to wait for another process that is migrating.
const LOCK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// How long one migration may take: it may rewrite a large table.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What the tables must have to be ours; other servers use the same names for other tables.
const OUR_COLUMNS: [(&str, &str); 6] = [
    ("documents", "epoch"),
    ("documents", "head_seq"),
    ("documents", "snapshot_seq"),
    ("documents", "vector_clock"),
    ("deltas", "seq"),
    ("deltas", "vector_clock"),
];

const COLUMNS: Statement = Statement {
    text: "SELECT table_name::text, column_name::text FROM information_schema.columns \
    WHERE table_schema = current_schema() \
    AND table_name IN ('documents', 'deltas', 'schema_migrations')",
    types: &[],
};

const APPLIED: Statement = Statement {
    text: "SELECT version, checksum, applied_at FROM schema_migrations ORDER BY version",
    types: &[],
};

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (\
    version VARCHAR(255) PRIMARY KEY, \
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now(), \
    checksum VARCHAR(64) NOT NULL)";

/// Not the time at which the transaction began, which then waited for its turn.
const RECORD: Statement = Statement {
    text: "INSERT INTO schema_migrations (version, checksum, applied_at) \
        VALUES ($1, $2, clock_timestamp())",
    types: &[Type::VARCHAR, Type::VARCHAR],
};

/// Reads and changes the schema of one database.
#[derive(Debug)]
pub struct Migrator {
    connections: Connections,
    known: &'static [Migration],
    lock_timeout: Duration,
}

impl Migrator {
    pub(super) fn new(connections: Connections, known: &'static [Migration]) -> Self {
        Self { connections, known, lock_timeout: LOCK_TIMEOUT_DEFAULT }
    }

    /// Uses these files instead of those that are built in.
    #[must_use]
    pub fn with_migrations(self, known: &'static [Migration]) -> Self {
        Self { known, ..self }
    }

    /// Waits this long for another process that is migrating.
    #[must_use]
    pub fn with_lock_timeout(self, lock_timeout: Duration) -> Self {
        Self { lock_timeout, ..self }
    }

    /// What the database has and lacks. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError::Schema`] when this program can't work with what is there.
    pub async fn status(&self) -> Result<MigrationStatus, OpenError> {
        self.connections
            .within(async {
                let session = self.connections.session().await?;
                session.begin().await?;
                let status = self.read_status(&session).await?;
                session.commit().await?;
                session.release();
                Ok(status)
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

    /// Applies what is missing; the answer names it. Each migration is one transaction, and other
    /// processes may apply one in between.
    ///
    /// # Errors
    /// As [`Migrator::status`]; [`OpenError::Unavailable`] when another process holds the lock
    /// for too long; whatever the database says about a migration. Those before it stay applied.
    pub async fn run(&self) -> Result<Vec<Migration>, OpenError> {
        let session = self.connections.within(self.connections.session()).await?;
        let mut applied = Vec::new();
        loop {
            // Of the transaction, because a pooler doesn't keep the lock of a session.
            self.begin_locked(&session).await?;
            let pending = self.connections.within(async {
                let status = self.read_status(&session).await?;
                session.run(CREATE_TABLE).await?;
                Ok::<_, OpenError>(status.pending)
            });
            let Some(next) = pending.await?.first().copied() else {
                break;
            };
            let apply = tokio::time::timeout(MIGRATION_TIMEOUT, apply(&session, &next));
            apply.await.map_err(|_| StoreError::timeout(MIGRATION_TIMEOUT))??;
            tracing::info!(migration = next.version, "applied a migration");
            applied.push(next);
        }
        session.commit().await?;
        session.release();
        Ok(applied)
    }

    async fn begin_locked(&self, session: &Session) -> Result<(), OpenError> {
        let settings = format!(
            "SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}",
            MIGRATION_TIMEOUT.as_millis(),
            self.lock_timeout.as_millis()
        );
        let lock = async {
            session.begin().await?;
            session.run(&settings).await?;
            session.run(&format!("SELECT pg_advisory_xact_lock({LOCK_KEY})")).await?;
            // A migration may wait for the tables as long as it likes: others are using them.
            session.run("SET LOCAL lock_timeout = 0").await
        };
        let deadline = self.lock_timeout + self.connections.call_timeout();
        match tokio::time::timeout(deadline, lock).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                Err(error.into())
            }
            _ => Err(StoreError::timeout(self.lock_timeout).into()),
        }
    }

    /// Inside of a transaction.
    async fn read_status(&self, session: &Session) -> Result<MigrationStatus, OpenError> {
        let mut columns: Vec<(String, String)> = Vec::new();
        for row in session.rows_in_transaction(COLUMNS, &[]).await? {
            columns.push((row.try_get(0)?, row.try_get(1)?));
        }
        let has_table = |name: &str| columns.iter().any(|(table, _)| table == name);
        let has_column = |(table, column)| columns.iter().any(|(t, c)| t == table && c == column);
        let mut applied = Vec::new();
        if has_table("schema_migrations") {
            if !has_column(("schema_migrations", "checksum")) {
                return Err(foreign("schema_migrations"));
            }
            for row in session.rows_in_transaction(APPLIED, &[]).await? {
                applied.push(AppliedMigration {
                    version: row.try_get(0)?,
                    checksum: row.try_get(1)?,
                    applied_at: row.try_get(2)?,
                });
            }
        }
        let pending = pending(self.known, &applied)?;
        for (table, column) in OUR_COLUMNS {
            let made_by_us = !applied.is_empty() && has_column((table, column));
            if has_table(table) && !made_by_us {
                return Err(foreign(table));
            }
        }
        Ok(MigrationStatus { applied, pending })
    }
}

fn foreign(table: &str) -> OpenError {
    OpenError::Schema(format!(
        "the table {table} was made by another program and has other columns than this one needs: \
         use another database or schema"
    ))
}

/// Ends the transaction.
async fn apply(session: &Session, migration: &Migration) -> Result<(), OpenError> {
    let checksum = migration.checksum();
    let apply = async {
        session.run(migration.sql).await?;
        let record = session.ready(RECORD).await?;
        session.count(&record, &[&migration.version, &checksum]).await?;
        session.commit().await
    };
    apply.await.map_err(|error| migration.failed(error.into()))
}
