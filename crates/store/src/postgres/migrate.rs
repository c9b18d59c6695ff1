//! Brings the schema up to date, however many processes start at once.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::error::{Cause, OpenError, StoreError};
use crate::migrations::{AppliedMigration, Migration, MigrationStatus, pending};

use super::find_schema::find_schema;
use super::pool::Connections;
use super::session::Session;
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

/// How long to wait for another process that is migrating, and for transactions of others that hold
/// what a migration needs. A server that starts says so meanwhile; then it ends, and may try again.
const LOCK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// How long a migration waits for a table at a time: everybody who comes after it, readers too, waits
/// behind it that long.
const TABLE_TIMEOUT: Duration = Duration::from_millis(500);

/// The time between two tries, in which the others go on.
const TABLE_PAUSE: Duration = Duration::from_secs(2);

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

/// From the catalogue: the information schema hides what the role has no right to.
const COLUMNS: Statement = Statement {
    text: "SELECT listed.relname::text, attribute.attname::text FROM pg_class AS listed \
    JOIN pg_namespace AS schema ON schema.oid = listed.relnamespace \
    JOIN pg_attribute AS attribute ON attribute.attrelid = listed.oid \
    WHERE schema.nspname = current_schema() AND attribute.attnum > 0 AND NOT attribute.attisdropped \
    AND listed.relname IN ('documents', 'deltas', 'schema_migrations') \
    AND listed.relkind IN ('r', 'p', 'v', 'm', 'f')",
    types: &[],
};

const APPLIED: Statement = Statement {
    text: "SELECT version, checksum, applied_at, oldest_program FROM schema_migrations \
        ORDER BY version",
    types: &[],
};

/// Where no migration has said yet which programs can live with it.
const APPLIED_BEFORE: Statement = Statement {
    text: "SELECT version, checksum, applied_at, NULL::integer FROM schema_migrations \
        ORDER BY version",
    types: &[],
};

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (\
    version VARCHAR(255) PRIMARY KEY, \
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now(), \
    checksum VARCHAR(64) NOT NULL); \
    ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS oldest_program INTEGER";

/// Not the time at which the transaction began, which then waited for its turn.
const RECORD: Statement = Statement {
    text: "INSERT INTO schema_migrations (version, checksum, oldest_program, applied_at) \
        VALUES ($1, $2, $3, clock_timestamp())",
    types: &[Type::VARCHAR, Type::VARCHAR, Type::INT4],
};

/// Whose transaction is the oldest of those that hold something of the tables.
const HOLDER: Statement = Statement {
    text: "SELECT activity.pid, coalesce(activity.application_name, ''), \
        extract(epoch FROM clock_timestamp() - activity.xact_start)::bigint \
    FROM pg_locks AS held \
    JOIN pg_class AS listed ON listed.oid = held.relation \
    JOIN pg_namespace AS schema ON schema.oid = listed.relnamespace \
    JOIN pg_stat_activity AS activity ON activity.pid = held.pid \
    WHERE schema.nspname = current_schema() AND held.granted AND held.pid <> pg_backend_pid() \
    AND listed.relname IN ('documents', 'deltas', 'schema_migrations') \
    ORDER BY activity.xact_start LIMIT 1",
    types: &[],
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

    /// Waits this long for others: those that are migrating, and those that use the tables.
    #[must_use]
    pub fn with_lock_timeout(self, lock_timeout: Duration) -> Self {
        Self { lock_timeout, ..self }
    }

    /// What the database has and lacks. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError::Schema`] when this program can't work with what is there.
    pub async fn status(&self) -> Result<MigrationStatus, OpenError> {
        find_schema(&self.connections).await?;
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

    /// Fails when something is missing. Changes nothing.
    ///
    /// # Errors
    /// As [`Migrator::status`].
    pub async fn check(&self) -> Result<(), OpenError> {
        self.status().await?.check()
    }

    /// Applies what is missing; the answer names it. Each migration is one transaction, and other
    /// processes may apply one in between. Where nothing is missing, it takes the right to read only.
    ///
    /// # Errors
    /// As [`Migrator::status`]; [`OpenError::Unavailable`] when other processes hold what is needed
    /// for too long; whatever the database says about a migration. Those before it stay applied.
    pub async fn run(&self) -> Result<Vec<Migration>, OpenError> {
        let mut applied = Vec::new();
        if self.status().await?.pending.is_empty() {
            return Ok(applied);
        }
        let since = Instant::now();
        loop {
            // One for each, since an error leaves it in the middle of a transaction.
            let session = self.connections.within(self.connections.session()).await?;
            // Of the transaction, because a pooler doesn't keep the lock of a session.
            self.begin_locked(&session).await?;
            let status = self.connections.within(self.read_status(&session)).await?;
            let Some(next) = status.pending.first().copied() else {
                session.commit().await?;
                session.release();
                break;
            };
            let apply = tokio::time::timeout(MIGRATION_TIMEOUT, apply(&session, &next));
            match apply.await.map_err(|_| StoreError::timeout(MIGRATION_TIMEOUT))? {
                Ok(()) => {
                    session.release();
                    tracing::info!(migration = next.version, "applied a migration");
                    applied.push(next);
                }
                Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                    drop(session);
                    self.give_way(&next, since).await?;
                }
                Err(error) => return Err(next.failed(error.into())),
            }
        }
        self.set_waiting(None);
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
            session.run(&format!("SET LOCAL lock_timeout = {}", TABLE_TIMEOUT.as_millis())).await
        };
        let deadline = self.lock_timeout + self.connections.call_timeout();
        self.set_waiting(Some("for another process that migrates the schema".into()));
        match tokio::time::timeout(deadline, lock).await {
            Ok(Ok(())) => {
                self.set_waiting(None);
                Ok(())
            }
            Ok(Err(error)) if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                Err(error.into())
            }
            _ => Err(StoreError::timeout(self.lock_timeout).into()),
        }
    }

    fn set_waiting(&self, what: Option<String>) {
        *self.connections.facts().waiting.lock() = what;
    }

    /// Lets those go on who wait behind the migration, or gives up.
    async fn give_way(&self, migration: &Migration, since: Instant) -> Result<(), OpenError> {
        let holder = self.connections.rows(HOLDER, &[]).await?;
        let holder = match holder.first() {
            Some(row) => {
                let (pid, name): (i32, &str) = (row.try_get(0)?, row.try_get(1)?);
                let seconds = row.try_get::<_, Option<i64>>(2)?.unwrap_or(0);
                format!("process {pid} `{name}`, open for {seconds} s")
            }
            None => "which has ended meanwhile".to_owned(),
        };
        let version = migration.version;
        let reason = format!("migration {version}: a transaction holds its tables ({holder})");
        if since.elapsed() >= self.lock_timeout {
            return Err(StoreError::unavailable(Cause::Conflict, reason).into());
        }
        tracing::warn!(migration = version, holder, "waiting for a transaction to end");
        self.set_waiting(Some(reason));
        tokio::time::sleep(TABLE_PAUSE.min(self.lock_timeout)).await;
        Ok(())
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
            let says_oldest = has_column(("schema_migrations", "oldest_program"));
            let statement = if says_oldest { APPLIED } else { APPLIED_BEFORE };
            for row in session.rows_in_transaction(statement, &[]).await? {
                let oldest_program: Option<i32> = row.try_get(3)?;
                applied.push(AppliedMigration {
                    version: row.try_get(0)?,
                    checksum: row.try_get(1)?,
                    applied_at: row.try_get(2)?,
                    oldest_program: oldest_program.and_then(|number| number.try_into().ok()),
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
async fn apply(session: &Session, migration: &Migration) -> Result<(), tokio_postgres::Error> {
    let checksum = migration.checksum();
    session.run(CREATE_TABLE).await?;
    session.run(migration.sql).await?;
    let record = session.ready(RECORD).await?;
    let oldest_program = i32::try_from(migration.oldest_program()).unwrap_or(i32::MAX);
    session.count(&record, &[&migration.version, &checksum, &oldest_program]).await?;
    session.commit().await
}
