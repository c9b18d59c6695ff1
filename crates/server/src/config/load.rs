//! From what was typed to a configuration.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use super::values::Values;
use super::{
    CompactionConfig, Config, ConfigError, ConfigErrors, ConfigFlags, DEVELOPMENT_PATH,
    FlagSetting, LogConfig, Origin, PostgreSqlConfig, ProviderName, RedisConfig, StorageConfig,
    StorageProvider, WsConfig, environment, file, setting,
};

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
    let delay = &setting::SHUTDOWN_DELAY;
    let shutdown_delay = match values.origin(&delay.about) {
        // Nobody sends clients to it, and whoever stops it waits.
        None if development => Some(Duration::ZERO),
        _ => values.read(delay),
    };
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
        shutdown_delay: shutdown_delay?,
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
    let migrates = values.read(&setting::MIGRATE);
    let write_hold = values.read(&setting::WRITE_HOLD);
    let failover_keep_bytes = values.read(&setting::FAILOVER_KEEP);
    let compaction = resolve_compaction(values);
    let connection_about = &setting::POSTGRES_CONNECTION.about;
    let name = resolve_provider(values, development);
    let path = values.read(&setting::SQLITE_PATH);
    let pool_max = values.read(&setting::POSTGRES_POOL_MAX);
    let pool_min = resolve_pool_min(values, pool_max);
    let lanes = resolve_lanes(values, pool_max);
    let in_flight_bytes = values.read(&setting::IN_FLIGHT_BYTES);
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
        migrates: migrates?,
        write_hold: write_hold?,
        failover_keep_bytes: failover_keep_bytes?,
        in_flight_bytes: in_flight_bytes?,
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

/// A smaller `pool_max` lowers the default.
fn resolve_pool_min(values: &mut Values, pool_max: Option<usize>) -> Option<usize> {
    up_to_pool_max(values, &setting::POSTGRES_POOL_MIN, pool_max, 0)
}

/// The same, so that a connection is left for reads.
fn resolve_lanes(values: &mut Values, pool_max: Option<usize>) -> Option<usize> {
    up_to_pool_max(values, &setting::POSTGRES_LANES, pool_max, 1)
}

/// Lowers the default to what leaves so many of `pool_max`, and refuses a value given above it.
fn up_to_pool_max(
    values: &mut Values,
    setting: &'static setting::Setting<usize>,
    pool_max: Option<usize>,
    left: usize,
) -> Option<usize> {
    let (about, max_about) = (&setting.about, &setting::POSTGRES_POOL_MAX.about);
    let value: usize = values.read(setting)?;
    let pool_max = pool_max?;
    let most = pool_max - left;
    if value <= most {
        return Some(value);
    }
    let Some(origin) = values.origin(about).cloned() else {
        values.conclude(about, max_about, most.to_string());
        return Some(most);
    };
    let max_origin = values.origin(max_about).cloned().unwrap_or(Origin::Default);
    let relation = if left == 0 { "at most" } else { "less than" };
    let message = format!(
        "{value} is refused: expected {relation} {}, which is {pool_max} ({max_origin})",
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
