//! Opens connections: encrypted as the mode says, and set up for the statements.
//!
//! A pooler that hands a server connection out by the transaction (PgBouncer in transaction mode)
//! keeps neither settings nor prepared statements for its client. Such a pooler is found out by a
//! setting in the connection's start: it takes no `options`, or drops them, and then the setting
//! isn't there. From then on [`ServerFacts::is_pooled`], and sessions do without what would be lost.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::Connect;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::OpenError;

use super::connection_string::ConnectionSettings;
use super::failure::is_tls_failure;
use super::hosts::Hosts;
use super::schema::SchemaChoice;
use super::tls::{self, SslMode};

/// Arrives only where a connection is the server's own for as long as it lives.
const MARK: &str = "-c synckit.connection=own";

/// What has been found out about the way to the server.
#[derive(Debug, Default)]
pub(super) struct ServerFacts {
    is_pooled: AtomicBool,
    loses_options: AtomicBool,
    pub(super) schema: SchemaChoice,
    /// What the start of the store waits for, for those who ask meanwhile.
    pub(super) waiting: Mutex<Option<String>>,
}

impl ServerFacts {
    pub(super) fn new(settings: &ConnectionSettings) -> Self {
        Self { schema: SchemaChoice::new(settings), ..Self::default() }
    }

    /// Whether two transactions of one connection may be on different connections of the server.
    /// Never goes back to false: to take a connection for pooled costs time only.
    pub(super) fn is_pooled(&self) -> bool {
        self.is_pooled.load(Ordering::Acquire)
    }

    /// Whether the `options` of the connection string did not arrive. They may name the schema.
    pub(super) fn loses_options(&self) -> bool {
        self.loses_options.load(Ordering::Acquire)
    }
}

/// Connects on behalf of the pools.
#[derive(Clone)]
pub(super) struct Connector {
    tls: MakeRustlsConnect,
    mode: SslMode,
    /// The settings of a connection, as the calls that make them.
    set_up: String,
    facts: Arc<ServerFacts>,
    hosts: Arc<Hosts>,
}

impl Connector {
    pub(super) fn new(
        settings: &ConnectionSettings,
        session_settings: &[(&str, String)],
        facts: Arc<ServerFacts>,
    ) -> Result<Self, OpenError> {
        let calls: Vec<String> = session_settings
            .iter()
            .map(|(name, value)| format!("set_config('{name}', '{value}', false)"))
            .collect();
        let set_up = calls.join(", ");
        let tls = tls::connector(&settings.tls)?;
        Ok(Self { tls, mode: settings.tls.mode, set_up, facts, hosts: Arc::default() })
    }

    /// As connections are encrypted.
    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    async fn open(&self, config: Config) -> Result<(Client, JoinHandle<()>), Error> {
        if self.facts.is_pooled() {
            return self.open_as_is(&config).await;
        }
        let mut marked = config.clone();
        let options = config.get_options().map_or(MARK.to_owned(), |own| format!("{own} {MARK}"));
        marked.options(options);
        let (opened, was_taken) = match self.open_as_is(&marked).await {
            Err(error) if may_refuse_options(&error) => (self.open_as_is(&config).await?, false),
            opened => (opened?, true),
        };
        let schema = self.facts.schema.call().map_or_else(String::new, |call| format!(", {call}"));
        // One statement that looks and acts, so that it can't act on another connection. It sets
        // a connection up that bears the mark, and answers with a row.
        let set_up = format!(
            "SELECT {}{schema} WHERE current_setting('synckit.connection', true) = 'own'",
            self.set_up
        );
        let answer = opened.0.simple_query(&set_up).await?;
        if answer.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))) {
            return Ok(opened);
        }
        if was_taken && config.get_options().is_some() {
            self.facts.loses_options.store(true, Ordering::Release);
        }
        if !self.facts.is_pooled.swap(true, Ordering::AcqRel) {
            tracing::info!("a pooler is in front of the database: statements are not prepared");
        }
        Ok(opened)
    }

    /// Opens as far as the mode allows.
    async fn open_as_is(&self, config: &Config) -> Result<(Client, JoinHandle<()>), Error> {
        use tokio_postgres::config::SslMode as Asked;
        let mut config = config.clone();
        let is_local = |host: &Host| matches!(host, Host::Unix(_));
        // PostgreSQL has no TLS on a socket of this machine.
        let only_local =
            config.get_hostaddrs().is_empty() && config.get_hosts().iter().all(is_local);
        let asked = match self.mode {
            _ if only_local => Asked::Disable,
            SslMode::Disable | SslMode::Allow => Asked::Disable,
            SslMode::Prefer => Asked::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Asked::Require,
        };
        let first = self.open_once(config.ssl_mode(asked)).await;
        let other = match self.mode {
            SslMode::Allow if !only_local => Asked::Require,
            SslMode::Prefer if !only_local => Asked::Disable,
            _ => return first,
        };
        match first {
            // Not let in this way, or at odds about how to encrypt: the other way is allowed too.
            Err(error)
                if is_tls_failure(&error)
                    || error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) =>
            {
                let second = self.open_once(config.ssl_mode(other)).await;
                second.map_err(|second| match second.as_db_error() {
                    Some(_) => second,
                    // The other way was not open at all, so the first answer says more.
                    None => error,
                })
            }
            first => first,
        }
    }

    async fn open_once(&self, config: &Config) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, connection) = config.connect(self.tls.clone()).await?;
        let drive = async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "a connection to the database broke");
            }
        };
        #[expect(clippy::disallowed_methods, reason = "ends with the client, which the pool owns")]
        let task = tokio::spawn(drive);
        Ok((client, task))
    }
}

/// Whether the error may be about `options`. Poolers say so in their own words and mostly as a
/// violation of the protocol; if it is about something else, the next try says so again.
fn may_refuse_options(error: &Error) -> bool {
    [&SqlState::PROTOCOL_VIOLATION, &SqlState::FEATURE_NOT_SUPPORTED]
        .iter()
        .any(|code| error.code() == Some(code))
}

type Opening<'a> =
    Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

impl Connect for Connector {
    fn connect(&self, config: &Config) -> Opening<'_> {
        let config = config.clone();
        Box::pin(async move { self.hosts.open(&config, |target| self.open(target)).await })
    }
}
