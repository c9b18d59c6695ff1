//! A store, the servers that are started on it, and how it is read past them.

use std::time::Duration;

use serde_json::Value;
use synckit_client::websocket::Closed;
use synckit_store::StorageProvider;
use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::sqlite::{SqliteOptions, SqliteProvider};
use synckit_testkit::{Database, Postgres, ServerCommand, ServerProcess};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::crew::{DOCUMENTS, PATIENCE};
use crate::writer::{connect, document_name, sync};

/// Between two looks at a condition that nobody announces.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How the servers treat history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compaction {
    /// Every delta stays and there are no snapshots.
    Never,
    /// Snapshots as often as possible, and what they cover goes.
    Often,
    /// Snapshots as often as possible, beside all deltas: each can be checked by the other.
    OftenKeepingHistory,
}

pub(crate) enum Ground {
    Postgres { postgres: Postgres, database: Box<Database> },
    Sqlite { directory: TempDir },
}

impl Ground {
    /// A database of its own in a PostgreSQL that belongs to the test alone.
    pub(crate) async fn postgres(postgres: &Postgres) -> Self {
        let database = Box::new(postgres.create_database().await);
        Self::Postgres { postgres: postgres.clone(), database }
    }

    pub(crate) fn sqlite() -> Self {
        Self::Sqlite { directory: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn command(&self, compaction: Compaction) -> ServerCommand {
        let settings: &[&str] = match compaction {
            Compaction::Never => &["storage.snapshot_deltas=1000000"],
            Compaction::Often => &["storage.snapshot_deltas=10"],
            Compaction::OftenKeepingHistory => {
                &["storage.snapshot_deltas=10", "storage.history=forever"]
            }
        };
        let command = self.bare_command().args(["--set", "ws.max_connections_per_ip=0"]);
        settings.iter().fold(command, |command, setting| command.args(["--set", setting]))
    }

    /// The program with this store and no other setting.
    pub(crate) fn bare_command(&self) -> ServerCommand {
        let command = ServerCommand::new(env!("CARGO_BIN_EXE_synckit-server"))
            .env("SYNCKIT_AUTH_REQUIRED", "false");
        match self {
            Self::Postgres { database, .. } => command.env("DATABASE_URL", database.url()),
            Self::Sqlite { directory } => command
                .env("STORAGE__PROVIDER", "sqlite")
                .env("STORAGE__SQLITE__PATH", sqlite_path(directory)),
        }
    }

    /// The store, opened by the test. No server may run on a file.
    pub(crate) async fn open(&self) -> Box<dyn StorageProvider> {
        let provider: Box<dyn StorageProvider> = match self {
            Self::Postgres { database, .. } => Box::new(postgres_provider(database)),
            Self::Sqlite { directory } => {
                Box::new(SqliteProvider::new(SqliteOptions::new(sqlite_path(directory))))
            }
        };
        provider.initialize().await.expect("the store opens");
        provider
    }

    /// Waits until nobody is left who might still commit for a server that was killed.
    pub(crate) async fn until_unused(&self) {
        let Self::Postgres { database, .. } = self else { return };
        let others = "SELECT count(*) FROM pg_stat_activity \
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let unused = async {
            let mut looks = tokio::time::interval(LOOK_AGAIN);
            while database.rows(others).await[0][0] != "0" {
                looks.tick().await;
            }
        };
        timeout(PATIENCE, unused).await.expect("connections of a dead server end");
    }

    /// Kills PostgreSQL with all its processes, so that none of them commits after it.
    pub(crate) async fn kill_postgres(&self) {
        let Self::Postgres { postgres, .. } = self else { panic!("a SQLite file") };
        postgres.kill9().await;
    }

    pub(crate) async fn start_postgres_again(&self) {
        let Self::Postgres { postgres, .. } = self else { panic!("a SQLite file") };
        postgres.start_again().await;
    }
}

pub(crate) fn postgres_provider(database: &Database) -> PostgresProvider {
    let options = PostgresOptions::new(database.url().parse().expect("a URL"));
    PostgresProvider::new(&options).expect("valid options")
}

fn sqlite_path(directory: &TempDir) -> std::path::PathBuf {
    directory.path().join("test.db")
}

/// Every document, by its number, as a server shows it.
pub(crate) async fn shown(server: &ServerProcess) -> Vec<Value> {
    let all = async {
        let mut connection = connect(server.address()).await;
        let mut states = Vec::new();
        for number in 0..DOCUMENTS {
            states.push(sync(&mut connection, &document_name(number)).await?);
        }
        Ok::<_, Closed>(states)
    };
    timeout(PATIENCE, all).await.expect("all states in time").expect("the connection lasts")
}
