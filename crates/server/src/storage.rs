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

/// A back end with how many writers it serves best.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) provider: Arc<dyn StorageProvider>,
    pub(crate) lanes: usize,
}

/// Makes the back end that the configuration names. Nothing is connected yet.
pub(crate) fn from_config(config: &config::StorageConfig) -> Result<Storage, OpenError> {
    let migrates = config.migrates;
    Ok(match &config.provider {
        config::StorageProvider::InMemory => {
            Storage { provider: Arc::new(MemoryProvider::new()), lanes: MEMORY_LANES }
        }
        config::StorageProvider::Sqlite(path) => {
            let options = SqliteOptions { migrates, ..SqliteOptions::new(path) };
            let provider = SqliteProvider::new(options);
            Storage { provider: Arc::new(provider), lanes: SQLITE_LANES }
        }
        config::StorageProvider::PostgreSql(postgres) => {
            let options = PostgresOptions { migrates, ..postgres_options(postgres) };
            let provider = PostgresProvider::new(&options)?;
            Storage { provider: Arc::new(provider), lanes: postgres.lanes }
        }
    })
}

pub(crate) fn postgres_options(config: &config::PostgreSqlConfig) -> PostgresOptions {
    PostgresOptions {
        pool_min: config.pool_min,
        pool_max: config.pool_max,
        ..PostgresOptions::new(config.connection.clone())
    }
}
