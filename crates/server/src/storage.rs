//! From configuration to a back end.

use std::sync::Arc;

use synckit_store::memory::MemoryProvider;
use synckit_store::postgres::{PostgresOptions, PostgresProvider};
use synckit_store::sqlite::{SqliteOptions, SqliteProvider};
use synckit_store::{OpenError, StorageProvider};

use crate::config;

/// How many commits are in flight at once where each is one call in this process.
const MEMORY_LANES: usize = 1;

/// One thread writes, but while it does the next batch is made ready.
const SQLITE_LANES: usize = 2;

/// One less than it has connections that read.
const SQLITE_LOADS: usize = 3;

/// A back end with how many writers it serves best.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) provider: Arc<dyn StorageProvider>,
    pub(crate) lanes: usize,
    /// How many documents are read at once.
    pub(crate) loads: usize,
}

/// Documents that are read at once at most, for all rooms of a node: enough to keep a processor
/// busy while the store makes the next, few enough that other reads find their turn: each waits for
/// one call, as connections are given out in turn.
const LOADS_AT_ONCE: usize = 4;

/// Makes the back end that the configuration names. Nothing is connected yet.
pub(crate) fn from_config(config: &config::StorageConfig) -> Result<Storage, OpenError> {
    let migrates = config.migrates;
    Ok(match &config.provider {
        config::StorageProvider::InMemory => {
            let provider = Arc::new(MemoryProvider::new());
            Storage { provider, lanes: MEMORY_LANES, loads: LOADS_AT_ONCE }
        }
        config::StorageProvider::Sqlite(path) => {
            let options = SqliteOptions { migrates, ..SqliteOptions::new(path) };
            let provider = SqliteProvider::new(options);
            Storage { provider: Arc::new(provider), lanes: SQLITE_LANES, loads: SQLITE_LOADS }
        }
        config::StorageProvider::PostgreSql(postgres) => {
            let options = PostgresOptions { migrates, ..postgres_options(postgres) };
            let provider = PostgresProvider::new(&options)?;
            let readers = postgres.pool_max.saturating_sub(postgres.lanes);
            let loads = readers.clamp(1, LOADS_AT_ONCE);
            Storage { provider: Arc::new(provider), lanes: postgres.lanes, loads }
        }
    })
}

pub(crate) fn postgres_options(config: &config::PostgreSqlConfig) -> PostgresOptions {
    PostgresOptions {
        pool_min: config.pool_min,
        pool_max: config.pool_max,
        writers: config.lanes,
        ..PostgresOptions::new(config.connection.clone())
    }
}
