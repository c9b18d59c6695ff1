//! The configuration: what was typed in a file, in the environment and on the command line, turned
//! into what is meant.
//!
//! A [`Config`] is complete and consistent, so nothing behind this module checks a setting again.
//! Stronger sources replace weaker ones: default < file < environment < command line. The
//! environment is a parameter; this module reads the configuration file and nothing else of the
//! process. It opens no socket and no database.

mod environment;
mod error;
mod file;
mod listen;
mod parse;
mod redis;
mod secret;
mod setting;
mod suggest;
mod values;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use synckit_store::postgres::connection_string::ConnectionSettings;

pub use error::{ConfigError, ConfigErrors, Origin};
pub use redis::RedisEndpoint;
pub use secret::Secret;
use values::Values;

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
    /// How long a write is held while the database is gone, before it is refused as retryable.
    pub write_hold: Duration,
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
    /// Most connections open at a time; at least 1.
    pub pool_max: usize,
    /// Commits in flight at a time; at least 1.
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

impl Config {
    /// Combines all sources, or says everything that is wrong with them.
    pub fn load(
        flags: &ConfigFlags,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigErrors> {
        let mut values = Values::default();
        if let Some(path) = &flags.file {
            file::load(path, &mut values);
        }
        let unused = environment::load(environment, &mut values);
        for FlagSetting { key, value, flag } in &flags.settings {
            let origin = Origin::CommandLine(flag.clone());
            match setting::find(key) {
                Some(about) => values.put(about, origin, value.expose().to_owned()),
                None => values.refuse(file::unknown_key(key, &origin)),
            }
        }
        let config = resolve(&mut values, unused, flags.development);
        match (config, values.take_errors()) {
            (Some(config), errors) if errors.is_empty() => Ok(config),
            (_, errors) => Err(ConfigErrors(errors)),
        }
    }

    /// The error with which `serve` refuses to start, unless authentication was switched off by
    /// name: a server that lets everybody in must not come about by leaving something out.
    pub fn ensure_authentication_is_off(&self) -> Result<(), ConfigError> {
        let found = match self.auth_required {
            Some(false) => return Ok(()),
            Some(true) => "is true",
            None => "is not set",
        };
        Err(ConfigError::new(format!(
            "{key} {found}: tokens are not supported yet by this version; \
             SYNCKIT_AUTH_REQUIRED=false switches authentication off by name, \
             and then everybody who reaches the server can read and write every document",
            key = setting::AUTH_REQUIRED.about.key,
        )))
    }

    /// Every setting with its effective value, where that came from, and its environment names;
    /// secrets are masked. This is the output of the `config` command.
    pub fn describe(&self) -> &str {
        &self.description
    }
}

/// `None` exactly when an error was recorded. All settings are read before the first `?`, so that
/// one attempt reports every error.
fn resolve(values: &mut Values, unused: Vec<String>, development: bool) -> Option<Config> {
    let listen = resolve_listen(values);
    let auth_required = values.read(&setting::AUTH_REQUIRED);
    let storage = resolve_storage(values, development);
    let ws = resolve_ws(values);
    let max_clock_skew = values.read(&setting::MAX_CLOCK_SKEW);
    let cors = values.read(&setting::CORS_ORIGIN);
    let shutdown_deadline = values.read(&setting::SHUTDOWN_DEADLINE);
    let level = values.read(&setting::LOG_LEVEL);
    let format = values.read(&setting::LOG_FORMAT_SETTING);

    let listen = listen?;
    let mut description = values.describe();
    let addresses: Vec<String> = listen.iter().map(ToString::to_string).collect();
    description.push_str(&format!("\nListens on {}\n", addresses.join(", ")));
    if !unused.is_empty() {
        description.push_str(&format!("Set but without effect: {}\n", unused.join(", ")));
    }
    Some(Config {
        listen,
        auth_required,
        storage: storage?,
        ws: ws?,
        max_clock_skew: max_clock_skew?,
        cors: cors?,
        shutdown_deadline: shutdown_deadline?,
        log: LogConfig { level: level?, format: format? },
        unused,
        description,
    })
}

/// `urls` against `host` and `port`: the stronger source wins. Within the environment `urls` wins,
/// because platforms set PORT and shells set HOST unasked; elsewhere giving both is a mistake.
fn resolve_listen(values: &mut Values) -> Option<Vec<SocketAddr>> {
    let (urls, host, port) = (&setting::URLS.about, &setting::HOST.about, &setting::PORT.about);
    let rank = |about| values.origin(about).map(Origin::rank);
    let rival = if rank(port) >= rank(host) { port } else { host };
    let (urls_rank, rival_rank) = (rank(urls), rank(rival));
    if urls_rank.is_none() || rival_rank > urls_rank {
        if urls_rank.is_some() {
            values.overrule(urls, rival);
        }
        let (host, port) = (values.read(&setting::HOST), values.read(&setting::PORT));
        return Some(vec![SocketAddr::new(host?, port?)]);
    }
    if rival_rank == urls_rank
        && let Some(origin) = values.origin(rival).cloned()
        && !matches!(origin, Origin::Environment(_))
    {
        let message = "is given together with urls; use one of the two";
        values.refuse(ConfigError::at(rival.key, &origin, message));
        return None;
    }
    values.overrule(host, urls);
    values.overrule(port, urls);
    values.read(&setting::URLS)
}

fn resolve_storage(values: &mut Values, development: bool) -> Option<StorageConfig> {
    let write_hold = values.read(&setting::WRITE_HOLD);
    let compaction = resolve_compaction(values);
    let connection_about = &setting::POSTGRES_CONNECTION.about;
    let name = resolve_provider(values, development);
    let path = values.read(&setting::SQLITE_PATH);
    let pool_max = values.read(&setting::POSTGRES_POOL_MAX);
    let pool_min = resolve_pool_min(values, pool_max);
    let lanes = values.read(&setting::POSTGRES_LANES);
    let redis = resolve_redis(values);
    let provider = match name? {
        ProviderName::InMemory => StorageProvider::InMemory,
        ProviderName::Sqlite => StorageProvider::Sqlite(path?),
        ProviderName::PostgreSql if values.origin(connection_about).is_none() => {
            values.refuse(ConfigError::new(format!(
                "{} is not set: the provider postgresql needs it; expected {}, for example in {}",
                connection_about.key,
                connection_about.accepts.accepts(),
                connection_about.environment[0],
            )));
            return None;
        }
        ProviderName::PostgreSql => {
            let connection = values.read(&setting::POSTGRES_CONNECTION)?;
            let (pool_min, pool_max, lanes) = (pool_min?, pool_max?, lanes?);
            let postgresql = PostgreSqlConfig { connection, pool_min, pool_max, lanes };
            StorageProvider::PostgreSql(Box::new(postgresql))
        }
    };
    Some(StorageConfig {
        provider,
        write_hold: write_hold?,
        compaction: compaction?,
        redis: redis?,
    })
}

/// A database that somebody named must not be ignored: only the name of another provider does that.
fn resolve_provider(values: &mut Values, development: bool) -> Option<ProviderName> {
    let about = &setting::STORAGE_PROVIDER.about;
    let (connection, path) = (&setting::POSTGRES_CONNECTION.about, &setting::SQLITE_PATH.about);
    let is_given = |values: &Values, about| values.origin(about).is_some();
    if is_given(values, about) {
        let name = values.read(&setting::STORAGE_PROVIDER);
        for (other, user) in [(connection, ProviderName::PostgreSql), (path, ProviderName::Sqlite)]
        {
            if name.is_some_and(|name| name != user) && is_given(values, other) {
                values.overrule(other, about);
            }
        }
        if development && name == Some(ProviderName::Sqlite) && !is_given(values, path) {
            values.conclude(path, about, DEVELOPMENT_PATH.into());
        }
        return name;
    }
    match (is_given(values, connection), is_given(values, path)) {
        (true, true) => {
            values.refuse(ConfigError::new(format!(
                "{} is not set, and both {} and {} are: expected postgresql or sqlite, for example \
                 in {}",
                about.key, connection.key, path.key, about.environment[0],
            )));
            return None;
        }
        (true, false) => values.conclude(about, connection, "postgresql".into()),
        (false, true) => values.conclude(about, path, "sqlite".into()),
        (false, false) if development => {
            values.conclude(about, path, "sqlite".into());
            values.conclude(path, about, DEVELOPMENT_PATH.into());
        }
        (false, false) => values.conclude(about, connection, "inmemory".into()),
    }
    values.read(&setting::STORAGE_PROVIDER)
}

fn resolve_compaction(values: &mut Values) -> Option<CompactionConfig> {
    let tail_deltas = values.read(&setting::SNAPSHOT_DELTAS);
    let tail_bytes = values.read(&setting::SNAPSHOT_BYTES);
    let history = values.read(&setting::HISTORY);
    let tombstone_horizon = values.read(&setting::TOMBSTONE_HORIZON);
    Some(CompactionConfig {
        tail_deltas: tail_deltas?,
        tail_bytes: tail_bytes? as u64,
        history: history?,
        tombstone_horizon: tombstone_horizon?,
    })
}

/// Lowers the default to a smaller `pool_max`, and refuses a value given above it.
fn resolve_pool_min(values: &mut Values, pool_max: Option<usize>) -> Option<usize> {
    let (about, max_about) = (&setting::POSTGRES_POOL_MIN.about, &setting::POSTGRES_POOL_MAX.about);
    let pool_min: usize = values.read(&setting::POSTGRES_POOL_MIN)?;
    let pool_max = pool_max?;
    if pool_min <= pool_max {
        return Some(pool_min);
    }
    let Some(origin) = values.origin(about).cloned() else {
        values.conclude(about, max_about, pool_max.to_string());
        return Some(pool_max);
    };
    let max_origin = values.origin(max_about).cloned().unwrap_or(Origin::Default);
    let message = format!(
        "{pool_min} is refused: expected at most {}, which is {pool_max} ({max_origin})",
        max_about.key
    );
    values.refuse(ConfigError::at(about.key, &origin, message));
    None
}

/// `None` for the outside when an error was recorded, for the inside when it isn't enabled.
fn resolve_redis(values: &mut Values) -> Option<Option<RedisConfig>> {
    if !values.read(&setting::REDIS_ENABLED)? {
        return Some(None);
    }
    let endpoint = values.read(&setting::REDIS_CONNECTION);
    let prefix = values.read(&setting::REDIS_PREFIX);
    Some(Some(RedisConfig { endpoint: endpoint?, prefix: prefix? }))
}

fn resolve_ws(values: &mut Values) -> Option<WsConfig> {
    let interval = values.read(&setting::HEARTBEAT_INTERVAL);
    let timeout = values.read(&setting::HEARTBEAT_TIMEOUT);
    if let (Some(interval), Some(timeout)) = (interval, timeout)
        && timeout <= interval
    {
        let (about, other) =
            (&setting::HEARTBEAT_TIMEOUT.about, &setting::HEARTBEAT_INTERVAL.about);
        let origin = |about| values.origin(about).cloned().unwrap_or(Origin::Default);
        let message = format!(
            "{} is refused: expected more than {}, which is {} ({})",
            timeout.as_millis(),
            other.key,
            interval.as_millis(),
            origin(other),
        );
        let error = ConfigError::at(about.key, &origin(about), message);
        values.refuse(error);
    }
    let max_connections = values.read(&setting::MAX_CONNECTIONS);
    let max_connections_per_ip = values.read(&setting::MAX_CONNECTIONS_PER_IP);
    let max_messages_per_minute = values.read(&setting::MAX_MESSAGES_PER_MINUTE);
    let max_frame_bytes = values.read(&setting::MAX_FRAME_BYTES);
    let max_outbox_bytes = values.read(&setting::MAX_OUTBOX_BYTES);
    Some(WsConfig {
        heartbeat_interval: interval?,
        heartbeat_timeout: timeout?,
        max_connections: max_connections?,
        max_connections_per_ip: max_connections_per_ip?,
        max_messages_per_minute: max_messages_per_minute?,
        max_frame_bytes: max_frame_bytes?,
        max_outbox_bytes: max_outbox_bytes?,
    })
}
