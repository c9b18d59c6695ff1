//! The table of settings. The loader, the list of environment names, the `config` command and the
//! check of the documentation all read it; a setting is added here and nowhere else.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use synckit_store::postgres::connection_string::ConnectionSettings;

use super::listen::ListenUrls;
use super::parse::{
    Accepts, Bound, Bytes, ChannelPrefix, FilePath, Host, LOG_FORMAT, LogLevel, MIGRATES,
    Milliseconds, Origins, PROVIDER, Parse, PostgresConnection, RedisConnection, Retention, SWITCH,
    Urls, Whole,
};
use super::redis::RedisEndpoint;
use super::{CorsOrigins, History, LogFormat, ProviderName};

/// What can be said about a setting without knowing its type.
pub(super) struct About {
    pub(super) key: &'static str,
    /// The first one that is set counts. Names with `__` are matched in any case, as .NET does.
    pub(super) environment: &'static [&'static str],
    pub(super) default: Option<&'static str>,
    pub(super) sensitivity: Sensitivity,
    pub(super) accepts: &'static dyn Accepts,
    pub(super) effect: &'static str,
}

/// Whether a value may be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sensitivity {
    Public,
    Secret,
}

use Sensitivity::{Public, Secret};

/// A row of the table together with the parser of its type.
pub(super) struct Setting<T: 'static> {
    pub(super) about: About,
    pub(super) parser: &'static dyn Parse<T>,
}

/// One statement for all rows, so that no setting can be left out of `ALL`.
macro_rules! settings {
    ($($name:ident: $type:ty = $key:literal, [$($environment:literal),+], $default:expr,
       $sensitivity:expr, $parser:expr, $effect:literal;)+) => {
        $(pub(super) static $name: Setting<$type> = Setting {
            about: About {
                key: $key,
                environment: &[$($environment),+],
                default: $default,
                sensitivity: $sensitivity,
                accepts: &$parser,
                effect: $effect,
            },
            parser: &$parser,
        };)+

        /// Every setting, in the order of the documentation.
        pub(super) static ALL: &[&About] = &[$(&$name.about),+];
    };
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const GIB: u64 = 1024 * 1024 * 1024;

settings! {
    URLS: ListenUrls = "urls", ["URLS", "ASPNETCORE_URLS", "SYNCKIT_SERVER_URL"],
        None, Public, Urls,
        "Addresses to listen on; replaces host and port given in the same place or a weaker one.";
    HOST: IpAddr = "host", ["HOST"],
        Some("0.0.0.0"), Public, Host,
        "Address to listen on when urls is not given.";
    PORT: u16 = "port", ["PORT"],
        Some("8080"), Public, Whole(0..=65535),
        "TCP port to listen on when urls is not given; 0 takes any free port.";
    AUTH_REQUIRED: bool = "auth.required", ["AUTH__REQUIRED", "SYNCKIT_AUTH_REQUIRED"],
        None, Public, SWITCH,
        "Whether clients must present a token; `serve` starts only when this is false.";
    STORAGE_PROVIDER: ProviderName = "storage.provider", ["STORAGE__PROVIDER"],
        None, Public, PROVIDER,
        "Where documents live; without it postgresql if a connection string is given, sqlite if \
         its path is given or the command is dev, else inmemory.";
    SQLITE_PATH: PathBuf = "storage.sqlite.path", ["STORAGE__SQLITE__PATH"],
        Some("synckit.db"), Public, FilePath,
        "The file of the provider sqlite, from the working directory; made if it is not there.";
    POSTGRES_CONNECTION: ConnectionSettings = "storage.postgresql.connectionstring",
        ["STORAGE__POSTGRESQL__CONNECTIONSTRING", "ConnectionStrings__synckit", "DATABASE_URL"],
        None, Secret, PostgresConnection,
        "The PostgreSQL database; required by the provider postgresql.";
    POSTGRES_POOL_MAX: usize = "storage.postgresql.pool_max",
        ["STORAGE__POSTGRESQL__POOL_MAX", "DB_POOL_MAX"],
        Some("10"), Public, Whole(2..=1000),
        "Most database connections open at a time: one for each lane, the rest for reads.";
    POSTGRES_POOL_MIN: usize = "storage.postgresql.pool_min",
        ["STORAGE__POSTGRESQL__POOL_MIN", "DB_POOL_MIN"],
        Some("2"), Public, Whole(0..=1000),
        "Database connections opened at start; at most pool_max.";
    POSTGRES_LANES: usize = "storage.postgresql.lanes", ["STORAGE__POSTGRESQL__LANES"],
        Some("2"), Public, Whole(1..=16),
        "Commits in flight at a time, each on a connection of its own; less than pool_max.";
    MIGRATE: bool = "storage.migrate", ["STORAGE__MIGRATE"],
        Some("auto"), Public, MIGRATES,
        "Whether a start brings the schema up to date, or only checks that it is.";
    WRITE_HOLD: Duration = "storage.write_hold_ms", ["STORAGE__WRITE_HOLD_MS"],
        Some("4000"), Public, Milliseconds(0..=600_000),
        "How long a write is held while the database is gone, before it is refused as retryable.";
    FAILOVER_KEEP: usize = "storage.failover_keep_bytes", ["STORAGE__FAILOVER_KEEP_BYTES"],
        Some("64MiB"), Public, Bytes(0..=GIB),
        "Bytes of the newest edits that are kept, to store them again when a standby of the \
         database takes over without them; 0 keeps none.";
    IN_FLIGHT_BYTES: usize = "storage.in_flight_bytes", ["STORAGE__IN_FLIGHT_BYTES"],
        Some("256MiB"), Public, Bytes(1024 * 1024..=64 * GIB),
        "Bytes of edits under way at a time, from reading them to their answers.";
    SNAPSHOT_DELTAS: u64 = "storage.snapshot_deltas", ["STORAGE__SNAPSHOT_DELTAS"],
        Some("1000"), Public, Whole(10..=1_000_000),
        "Stored edits after which a document gets a new snapshot.";
    SNAPSHOT_BYTES: usize = "storage.snapshot_bytes", ["STORAGE__SNAPSHOT_BYTES"],
        Some("1MiB"), Public, Bytes(1024..=GIB),
        "Bytes of stored edits after which a document gets a new snapshot.";
    HISTORY: History = "storage.history", ["STORAGE__HISTORY"],
        Some("none"), Public, Retention,
        "How long edits that a snapshot covers are kept.";
    REDIS_ENABLED: bool = "storage.redis.enabled", ["STORAGE__REDIS__ENABLED"],
        Some("false"), Public, SWITCH,
        "Whether several instances share their documents, and tell each other of edits and \
         presence through Redis.";
    REDIS_CONNECTION: RedisEndpoint = "storage.redis.connectionstring",
        ["STORAGE__REDIS__CONNECTIONSTRING", "ConnectionStrings__redis", "REDIS_URL"],
        Some("localhost:6379"), Secret, RedisConnection,
        "The Redis server; read only when storage.redis.enabled is true.";
    REDIS_PREFIX: String = "storage.redis.channelprefix",
        ["STORAGE__REDIS__CHANNELPREFIX", "REDIS_CHANNEL_PREFIX"],
        Some("synckit:"), Public, ChannelPrefix,
        "What the names of all channels begin with: instances with the same one belong together.";
    HEARTBEAT_INTERVAL: Duration = "ws.heartbeat_interval_ms",
        ["WS__HEARTBEAT_INTERVAL_MS", "WS_HEARTBEAT_INTERVAL"],
        Some("30000"), Public, Milliseconds(10..=DAY_MS),
        "Time between two pings to a client.";
    HEARTBEAT_TIMEOUT: Duration = "ws.heartbeat_timeout_ms",
        ["WS__HEARTBEAT_TIMEOUT_MS", "WS_HEARTBEAT_TIMEOUT"],
        Some("75000"), Public, Milliseconds(20..=2 * DAY_MS),
        "Silence after which a connection is dropped; more than the interval.";
    MAX_CONNECTIONS: Option<NonZeroUsize> = "ws.max_connections",
        ["WS__MAX_CONNECTIONS", "WS_MAX_CONNECTIONS"],
        Some("10000"), Public, Bound(1_000_000),
        "Most client connections open at a time.";
    MAX_CONNECTIONS_PER_IP: Option<NonZeroUsize> = "ws.max_connections_per_ip",
        ["WS__MAX_CONNECTIONS_PER_IP", "SYNCKIT_MAX_CONNECTIONS_PER_IP", "MAX_CONNECTIONS_PER_IP"],
        Some("50"), Public, Bound(1_000_000),
        "Most client connections open at a time from one IP address.";
    MAX_MESSAGES_PER_MINUTE: Option<NonZeroUsize> = "ws.max_messages_per_minute",
        ["WS__MAX_MESSAGES_PER_MINUTE", "SYNCKIT_MAX_MESSAGES_PER_MINUTE"],
        Some("0"), Public, Bound(10_000_000),
        "Most messages a connection may send in a minute.";
    MAX_FRAME_BYTES: usize = "ws.max_frame_bytes", ["WS__MAX_FRAME_BYTES"],
        Some("16MiB"), Public, Bytes(1024..=GIB),
        "Longest message accepted from a client.";
    MAX_OUTBOX_BYTES: usize = "ws.max_outbox_bytes", ["WS__MAX_OUTBOX_BYTES"],
        Some("16MiB"), Public, Bytes(1024..=GIB),
        "Most bytes waiting to be sent to one client.";
    MAX_CLOCK_SKEW: Duration = "limits.max_clock_skew_ms", ["LIMITS__MAX_CLOCK_SKEW_MS"],
        Some("300000"), Public, Milliseconds(0..=DAY_MS),
        "How far the clock of a client may be ahead of the server's.";
    TOMBSTONE_HORIZON: Duration = "limits.tombstone_horizon_ms",
        ["LIMITS__TOMBSTONE_HORIZON_MS"],
        Some("2592000000"), Public, Milliseconds(DAY_MS / 24..=3_650 * DAY_MS),
        "How long deletions are remembered; an edit dated further back counts as made then.";
    CORS_ORIGIN: CorsOrigins = "cors.origin",
        ["CORS__ORIGIN", "CORS_ORIGIN", "SYNCKIT_CORS_ORIGINS", "CORS_ORIGINS"],
        Some("*"), Public, Origins,
        "Web origins whose pages may call the server.";
    SHUTDOWN_DELAY: Duration = "shutdown.delay_ms", ["SHUTDOWN__DELAY_MS"],
        Some("2000"), Public, Milliseconds(0..=600_000),
        "How long a server that is asked to stop goes on, while /health/ready says 503 so that \
         nobody sends it clients any more; 0 for the command dev.";
    SHUTDOWN_DEADLINE: Duration = "shutdown.deadline_ms", ["SHUTDOWN__DEADLINE_MS"],
        Some("15000"), Public, Milliseconds(0..=600_000),
        "How long a shutdown may wait for work in progress.";
    LOG_LEVEL: String = "log.level", ["LOG__LEVEL", "RUST_LOG"],
        Some("info"), Public, LogLevel,
        "Least important messages that are logged.";
    LOG_FORMAT_SETTING: LogFormat = "log.format", ["LOG__FORMAT"],
        Some("text"), Public, LOG_FORMAT,
        "Form of a log line.";
}

/// The form in which keys are compared: the spellings `PostgreSql`, `pool_max` and `poolMax` come
/// from different files for the same thing.
pub(super) fn normalize(key: &str) -> String {
    key.replace(['_', '-'], "").to_lowercase()
}

pub(super) fn find(key: &str) -> Option<&'static About> {
    let normalized = normalize(key);
    ALL.iter().copied().find(|about| normalize(about.key) == normalized)
}

/// Whether settings exist below this key.
pub(super) fn is_group(key: &str) -> bool {
    let prefix = format!("{}.", normalize(key));
    ALL.iter().any(|about| normalize(about.key).starts_with(&prefix))
}
