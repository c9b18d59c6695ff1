//! What a connection is set up with.

use std::time::Duration;

/// The server's own limit lies behind the caller's, so that it only ever ends what nobody waits
/// for any more: a statement whose connection was closed goes on otherwise, and keeps its locks.
const SERVER_GRACE: Duration = Duration::from_secs(1);

/// Found dead within a minute, although a network that drops packets tells nobody.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// What tokio-postgres sets when the connection string says nothing.
const KEEPALIVE_IDLE_UNSET: Duration = Duration::from_secs(2 * 60 * 60);

pub(super) fn with_timeouts(
    mut config: tokio_postgres::Config,
    call_timeout: Duration,
) -> tokio_postgres::Config {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(call_timeout);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(call_timeout);
    }
    if config.get_keepalives_idle() == KEEPALIVE_IDLE_UNSET {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    config
}

/// What the statements rely on, whatever the database's own defaults are.
///
/// Every read and write goes by key, so the plan that is right for a large table is right for all;
/// plans made while the tables are empty would scan them until statistics are gathered, and a scan
/// through a bitmap would lose the order of the key. And a statement that has waited for a lock must
/// see what was committed meanwhile.
pub(super) fn session_settings(call_timeout: Duration) -> [(&'static str, String); 7] {
    let limit_ms = (call_timeout + SERVER_GRACE).as_millis().to_string();
    [
        ("default_transaction_isolation", "read committed".to_owned()),
        ("plan_cache_mode", "force_generic_plan".to_owned()),
        ("enable_seqscan", "off".to_owned()),
        ("enable_bitmapscan", "off".to_owned()),
        ("jit", "off".to_owned()),
        ("statement_timeout", limit_ms.clone()),
        ("idle_in_transaction_session_timeout", limit_ms),
    ]
}

/// Begins a transaction with settings that end with it.
pub(super) fn begin_with(settings: &[(&str, String)]) -> String {
    let locals = settings.iter().map(|(name, value)| format!("; SET LOCAL {name} = '{value}'"));
    // The default for transactions comes too late for this one.
    format!("BEGIN ISOLATION LEVEL READ COMMITTED{}", locals.collect::<String>())
}
