//! The configuration: what was typed in a file, in the environment and on the command line, turned
//! into what is meant.
//!
//! A [`Config`] is complete and consistent, so nothing behind this module checks a setting again.
//! Stronger sources replace weaker ones: default < file < environment < command line. The
//! environment is a parameter; this module reads the configuration file and nothing else of the
//! process.
//!
//! Owns every setting, its names, default and range (`setting`), and what is said about mistakes.
//! Must not know what a setting does: it opens no socket and no database.

mod environment;
mod error;
mod file;
mod listen;
mod load;
mod parse;
mod redis;
mod secret;
mod setting;
mod suggest;
mod values;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use synckit_store::postgres::connection_string::ConnectionSettings;

pub use error::{ConfigError, ConfigErrors, Origin};
#[cfg(test)]
pub(crate) use redis::parse as parse_redis;
pub use redis::{RedisEndpoint, Sentinels};
pub use secret::Secret;

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub struct ConfigFlags {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Settings given directly.
    pub settings: Vec<FlagSetting>,
    /// Whether documents live in [`DEVELOPMENT_PATH`] unless something else is said.
    pub development: bool,
}

/// The file of a server for development.
pub const DEVELOPMENT_PATH: &str = "synckit-dev.db";

/// One setting given on the command line.
#[derive(Debug, Clone)]
pub struct FlagSetting {
    /// Dotted key.
    pub key: String,
    /// The value as typed; any setting may be given this way, so it may be a password.
    pub value: Secret,
    /// The flag or subcommand, as errors name it.
    pub flag: String,
}

/// Everything the server can be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses to listen on; never empty.
    pub listen: Vec<SocketAddr>,
    /// Whether clients must present a token, if anybody said so; see
    /// [`Config::ensure_authentication_is_off`].
    pub auth_required: Option<bool>,
    /// Where documents live.
    pub storage: StorageConfig,
    /// Bounds and timing of client connections.
    pub ws: WsConfig,
    /// How far the clock of a client may be ahead of the server's.
    pub max_clock_skew: Duration,
    /// Web origins whose pages may call the server.
    pub cors: CorsOrigins,
    /// How long a server that is asked to stop goes on, with its readiness withdrawn.
    pub shutdown_delay: Duration,
    /// How long a shutdown may wait for work in progress.
    pub shutdown_deadline: Duration,
    /// What is logged and how.
    pub log: LogConfig,
    /// Names of environment variables that other SyncKit servers read and this one does not.
    pub unused: Vec<String>,
    description: String,
}

/// Where documents live.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// The back end.
    pub provider: StorageProvider,
    /// Whether a start brings the schema up to date, or only checks that it is.
    pub migrates: bool,
    /// How long a write is held while the database is gone, before it is refused as retryable.
    pub write_hold: Duration,
    /// Bytes of the newest edits that a node keeps, to store them again when another server of the
    /// database takes over without them.
    pub failover_keep_bytes: usize,
    /// Bytes of edits that may be under way at a time, over all documents; at least 1.
    pub in_flight_bytes: usize,
    /// When documents get snapshots and what happens to the edits these cover.
    pub compaction: CompactionConfig,
    /// The bus to other nodes, if there are any.
    pub redis: Option<RedisConfig>,
}

/// When documents get snapshots and what happens to the edits these cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionConfig {
    /// Stored edits after which a document gets a new snapshot.
    pub tail_deltas: u64,
    /// Bytes of stored edits after which a document gets a new snapshot.
    pub tail_bytes: u64,
    /// How long edits that a snapshot covers are kept.
    pub history: History,
    /// How long deletions are remembered.
    pub tombstone_horizon: Duration,
}

/// How long edits that a snapshot covers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// Not at all.
    None,
    /// This long.
    For(Duration),
    /// For ever: nothing is removed.
    Forever,
}

/// A back end with what it needs.
#[derive(Debug, Clone)]
pub enum StorageProvider {
    /// Memory of this process; lost when it ends.
    InMemory,
    /// A SQLite file, which no other process uses.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    PostgreSql(Box<PostgreSqlConfig>),
}

/// How to reach the other nodes.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// The server in between.
    pub endpoint: RedisEndpoint,
    /// What the names of all channels begin with; the same on all nodes of one community.
    pub prefix: String,
}

/// How to use a PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgreSqlConfig {
    /// Where the database is, and how the way there is encrypted.
    pub connection: ConnectionSettings,
    /// Connections opened at start; at most `pool_max`.
    pub pool_min: usize,
    /// Most connections open at a time; more than `lanes`.
    pub pool_max: usize,
    /// Commits in flight at a time, each on a connection that nothing else uses; at least 1.
    pub lanes: usize,
}

/// Bounds and timing of client connections; `None` means that there is no limit.
#[derive(Debug, Clone)]
pub struct WsConfig {
    /// Time between two pings.
    pub heartbeat_interval: Duration,
    /// Silence after which a connection is dropped; longer than the interval.
    pub heartbeat_timeout: Duration,
    /// Most connections open at a time.
    pub max_connections: Option<NonZeroUsize>,
    /// Most connections open at a time from one IP address.
    pub max_connections_per_ip: Option<NonZeroUsize>,
    /// Most messages a connection may send in a minute.
    pub max_messages_per_minute: Option<NonZeroUsize>,
    /// Longest message accepted from a client.
    pub max_frame_bytes: usize,
    /// Most bytes waiting to be sent to one client.
    pub max_outbox_bytes: usize,
}

/// Web origins whose pages may call the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// All.
    Any,
    /// These, in lower case; never empty.
    Listed(Vec<String>),
}

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or several `target=level` separated by commas.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// The name of a back end, before it is known whether its other settings are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProviderName {
    InMemory,
    Sqlite,
    PostgreSql,
}
