//! Start and stop of one server. Nothing here is global: two servers run in one process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::serve::ListenerExt;
use synckit_engine::ids::NodeId;
use synckit_engine::limits::Limits;
use synckit_store::{Durability, OpenError};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::bus::local::LocalNetwork;
use crate::bus::redis::{RedisBus, RedisOptions};
use crate::bus::{self, Bus};
use crate::committer::Committer;
use crate::compactor::Compactor;
use crate::config::{self, Config};
use crate::connection::admission::Admission;
use crate::connection::{Connections, Settings};
use crate::http::{self, App, Readiness};
use crate::hub::Hub;
use crate::peers::Peers;
use crate::shutdown::Shutdown;
use crate::storage;
use crate::time::millis;

/// Why a server did not start, or did not stop as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address can't be listened on.
    #[error("urls: can't listen on {address}: {source}; stop what uses it or choose another port")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The store can't be used.
    #[error("storage: {0}")]
    Storage(#[from] OpenError),
    /// The file of the provider sqlite can't be used.
    #[error("storage.sqlite.path: {0}")]
    File(OpenError),
    /// The bus to the other nodes can't be used.
    #[error("storage.redis.connectionstring: {0}")]
    Bus(String),
    /// The deadline for stopping passed with work left; what was acknowledged is stored all the
    /// same.
    #[error("shutdown.deadline_ms: the deadline passed before everything was finished")]
    Shutdown,
}

impl Error {
    /// Whether the configuration is at fault, as far as the server can tell.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Listen { .. } => true,
            Self::Storage(error) | Self::File(error) => error.is_configuration(),
            Self::Bus(_) => true,
            Self::Shutdown => false,
        }
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    listeners: Vec<TcpListener>,
    config: Config,
}

impl Server {
    /// Checks the store with a real round trip, brings its schema up to date and binds the
    /// addresses.
    ///
    /// # Errors
    /// [`Error`]; nothing is left behind.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let mut listeners = Vec::new();
        for address in &config.listen {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|source| Error::Listen { address: *address, source })?;
            listeners.push(listener);
        }
        let storage = storage::from_config(&config.storage.provider)?;
        storage.provider.initialize().await.map_err(|error| match config.storage.provider {
            config::StorageProvider::Sqlite(_) => Error::File(error),
            _ => Error::Storage(error),
        })?;
        let durability = storage.provider.documents().durability();
        if durability == Durability::Process {
            tracing::warn!("documents live in memory only and are gone when the server stops");
        }
        let shutdown = Shutdown::default();
        let committer = Committer::start(
            &storage.provider,
            storage.lanes,
            config.storage.write_hold,
            &shutdown.lanes,
        );
        let node = NodeId::new(&uuid::Uuid::new_v4().simple().to_string());
        let compactor = Compactor::start(
            Arc::clone(&storage.provider),
            node.clone(),
            config.storage.compaction.clone(),
            shutdown.drain.clone(),
            &shutdown.rooms,
        );
        let (events, heard) = mpsc::channel(bus::EVENTS_WAITING_MAX);
        let bus: Arc<dyn Bus> = match &config.storage.redis {
            None => Arc::new(LocalNetwork::new().join(node.clone(), events)),
            Some(redis) => {
                let options = RedisOptions::new(redis.endpoint.clone(), redis.prefix.as_str());
                Arc::new(
                    RedisBus::start(options, node.clone(), events, &shutdown.lanes)
                        .await
                        .map_err(|error| Error::Bus(error.to_string()))?,
                )
            }
        };
        let is_shared = durability == Durability::Server;
        if !is_shared && !bus.is_alone() {
            tracing::warn!(
                "nodes share no store: what one has not sent to another when it stops is lost"
            );
        }
        let peers = Arc::new(Peers::new(bus, is_shared));
        let hub = Arc::new(Hub::new(
            storage.provider,
            committer,
            compactor,
            Arc::clone(&peers),
            limits(&config),
            shutdown,
        ));
        peers.start(&hub, heard);
        let settings = Settings::from(&config.ws);
        let app = App {
            connections: Connections::new(Arc::clone(&hub), node, settings),
            hub,
            admission: Arc::new(Admission::new(
                config.ws.max_connections,
                config.ws.max_connections_per_ip,
            )),
            readiness: Readiness::default(),
            cors: config.cors.clone(),
            started: Instant::now(),
        };
        Ok(Self { app: Arc::new(app), listeners, config })
    }

    /// The addresses that are listened on, with the ports that were given.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until `stop` is cancelled, then finishes what was taken in.
    ///
    /// # Errors
    /// [`Error::Shutdown`] when that took longer than its deadline.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let shutdown = self.app.hub.shutdown.clone();
        let router =
            http::router(Arc::clone(&self.app)).into_make_service_with_connect_info::<SocketAddr>();
        for listener in self.listeners {
            let listener = listener.tap_io(|stream| {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(error = %error, "TCP_NODELAY is not set");
                }
            });
            let intake = shutdown.intake.clone();
            let serve = axum::serve(listener, router.clone());
            shutdown.readers.spawn(async move {
                let graceful = serve.with_graceful_shutdown(intake.cancelled_owned());
                if let Err(error) = graceful.await {
                    tracing::error!(error = %error, "accepting connections failed");
                }
            });
        }
        stop.cancelled().await;
        tracing::info!("stopping");
        let in_time = shutdown.run(self.config.shutdown_deadline).await;
        self.app.hub.peers.close().await;
        tracing::info!(in_time, "stopped");
        if in_time { Ok(()) } else { Err(Error::Shutdown) }
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        clock_skew_max_ms: millis(config.max_clock_skew),
        tombstone_horizon_ms: millis(config.storage.compaction.tombstone_horizon),
        messages_per_minute: config
            .ws
            .max_messages_per_minute
            .map_or(0, |most| u32::try_from(most.get()).unwrap_or(u32::MAX)),
        ..Limits::default()
    }
}

/// What the banner and the log say about where documents live.
#[must_use]
pub fn storage_note(config: &config::StorageProvider) -> String {
    match config {
        config::StorageProvider::InMemory => {
            "in memory: they are gone when the server stops".into()
        }
        config::StorageProvider::Sqlite(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            format!("in {}", path.display())
        }
        config::StorageProvider::PostgreSql(_) => "in PostgreSQL".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigFlags, FlagSetting, Secret};

    async fn start(path: &std::path::Path) -> Result<Server, Error> {
        let path = path.display().to_string();
        let settings = [("urls", "http://127.0.0.1:0"), ("storage.sqlite.path", &path)];
        let settings = settings.map(|(key, value)| FlagSetting {
            key: key.to_owned(),
            value: Secret::new(value),
            flag: format!("--{key}"),
        });
        let flags = ConfigFlags { settings: settings.to_vec(), ..ConfigFlags::default() };
        Server::start(Config::load(&flags, std::iter::empty()).unwrap()).await
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_a_mistake_of_its_setting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let text = directory.path().join("text");
        std::fs::write(&text, "no database").unwrap();
        let _first = start(&path).await.unwrap();
        for (path, expected) in [
            (path, "another process uses this file; stop that process"),
            (directory.path().join("absent/test.db"), "does not exist; make it or choose another"),
            (directory.path().to_owned(), "expected the path of a file"),
            (text, "was made by another program; choose another path"),
        ] {
            let error = start(&path).await.unwrap_err();
            assert!(error.is_configuration());
            let line = error.to_string();
            assert!(line.starts_with("storage.sqlite.path: "), "{line}");
            assert!(line.contains(expected) && !line.contains('\n'), "{line}");
        }
    }
}
