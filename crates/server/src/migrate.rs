//! The command `migrate`: brings the schema of the configured storage up to date, or says what
//! would be done and how things stand. It starts no server and reads no document.

use std::fmt::Write as _;
use std::time::SystemTime;

use synckit_store::migrations::MigrationStatus;
use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::sqlite::migrate::Migrator as SqliteMigrator;
use synckit_store::{Cause, OpenError, StorageProvider as _};

use crate::config::StorageProvider;
use crate::storage;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Apply what is missing.
    Apply,
    /// Name what would be applied.
    Plan,
    /// Name what is applied and what is missing.
    Status,
}

/// What there is to say, and whether there is something left to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Lines for standard output.
    pub text: String,
    /// Whether [`Task::Apply`] would change something now.
    pub is_pending: bool,
}

/// Why the schema is not as it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {source}{advice}")]
pub struct Error {
    /// Where the storage is configured.
    setting: &'static str,
    source: OpenError,
    advice: &'static str,
}

impl Error {
    /// Whether somebody has to change something before the same command can succeed.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        self.source.is_configuration()
    }
}

/// Does it. `progress` takes a line as soon as there is one.
///
/// # Errors
/// [`Error`]; migrations that were applied before it stay.
pub async fn run(
    config: &StorageProvider,
    task: Task,
    progress: impl Fn(&str),
) -> Result<Report, Error> {
    let setting = match config {
        StorageProvider::InMemory => {
            let text = "storage.provider is inmemory: documents in memory have no schema, so there \
                is nothing to migrate\n";
            return Ok(Report { text: text.into(), is_pending: false });
        }
        StorageProvider::Sqlite(_) => "storage.sqlite.path",
        StorageProvider::PostgreSql(_) => "storage.postgresql.connectionstring",
    };
    let result = match Schema::of(config) {
        Ok(schema) => schema.perform(task, progress).await,
        Err(error) => Err(error),
    };
    result.map_err(|source| {
        let advice = match &source {
            error if error.is_configuration() => "",
            OpenError::Unavailable(it) if it.cause == Cause::Timeout => {
                "; another process may be migrating: wait for it and try again"
            }
            _ => "; check that the storage can be reached and try again",
        };
        Error { setting, source, advice }
    })
}

/// The schema of one storage.
enum Schema {
    Sqlite(SqliteMigrator),
    PostgreSql(Box<PostgresProvider>),
}

impl Schema {
    fn of(config: &StorageProvider) -> Result<Self, OpenError> {
        Ok(match config {
            StorageProvider::InMemory => {
                return Err(OpenError::Schema("documents in memory have no schema".into()));
            }
            StorageProvider::Sqlite(path) => Self::Sqlite(SqliteMigrator::new(path)),
            StorageProvider::PostgreSql(postgres) => {
                let options =
                    PostgresOptions { pool_min: 0, ..storage::postgres_options(postgres) };
                Self::PostgreSql(Box::new(PostgresProvider::new(&options)?))
            }
        })
    }

    async fn status(&self) -> Result<MigrationStatus, OpenError> {
        match self {
            Self::Sqlite(migrator) => migrator.status().await,
            Self::PostgreSql(provider) => provider.migrator().status().await,
        }
    }

    async fn apply(&self) -> Result<(), OpenError> {
        match self {
            Self::Sqlite(migrator) => migrator.run().await.map(drop),
            // Looks at the server first, as a start does.
            Self::PostgreSql(provider) => provider.initialize().await,
        }
    }

    async fn perform(&self, task: Task, progress: impl Fn(&str)) -> Result<Report, OpenError> {
        let MigrationStatus { applied, pending } = self.status().await?;
        let mut text = String::new();
        // Writing into a String cannot fail.
        match task {
            Task::Plan => {
                for migration in &pending {
                    let _ = writeln!(text, "would apply {}", migration.version);
                }
            }
            Task::Status => {
                for row in &applied {
                    let _ = writeln!(text, "applied {} {}", row.version, date(row.applied_at));
                }
                for migration in &pending {
                    let _ = writeln!(text, "pending {}", migration.version);
                }
            }
            Task::Apply => {
                for migration in &pending {
                    progress(&format!("to apply: {}\n", migration.version));
                }
                self.apply().await?;
                for migration in &pending {
                    let _ = writeln!(text, "applied {}", migration.version);
                }
            }
        }
        let is_pending = task != Task::Apply && !pending.is_empty();
        if !is_pending {
            text.push_str("the schema is up to date\n");
        }
        Ok(Report { text, is_pending })
    }
}

fn date(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
