//! Start and stop of one server. Nothing here is global: two servers run in one process.
//!
//! Owns the order in which the parts are made and ended. Must not know the command line, signals or
//! exit codes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use synckit_engine::ids::NodeId;
use synckit_engine::limits::Limits;
use synckit_engine::room::RecentBudget;
use synckit_store::{Durability, OpenError};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};
use crate::connection::admission::Admission;
use crate::connection::{Connections, Settings};
use crate::http::{self, App, Listener, Readiness};
use crate::nodes::bus::local::LocalNetwork;
use crate::nodes::bus::redis::{RedisBus, RedisOptions};
use crate::nodes::bus::{self, Bus, BusEvent};
use crate::nodes::{OpenRooms, Peers};
use crate::rooms::Rooms;
use crate::rooms::committer::Committer;
use crate::rooms::compactor::Compactor;
use crate::rooms::gate::Gate;
use crate::rooms::hub::Hub;
use crate::rooms::loads::Loads;
use crate::rooms::mailbox::EditBudget;
use crate::rooms::services::Services;
use crate::shutdown::Shutdown;
use crate::storage::{self, Storage};
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
    /// A part of the server went on failing, as the log says. What was acknowledged is stored; a
    /// new process is better off.
    #[error("a part of the server failed again and again: report what the log says of it")]
    Failed,
}

impl Error {
    /// Whether the configuration is at fault, as far as the server can tell.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Listen { .. } => true,
            Self::Storage(error) | Self::File(error) => error.is_configuration(),
            Self::Bus(_) => true,
            Self::Shutdown | Self::Failed => false,
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
        let listeners = listen(&config.listen).await?;
        let storage = open_storage(&config.storage, &listeners).await?;
        Self::start_on(config, listeners, storage).await
    }

    async fn start_on(
        config: Config,
        listeners: Vec<TcpListener>,
        storage: Storage,
    ) -> Result<Self, Error> {
        let durability = storage.provider.documents().durability();
        let shutdown = Shutdown::default();
        let gate = Gate::start(&storage.provider, &shutdown.lanes, &shutdown.supervisor);
        let committer = Committer::start(
            &storage.provider,
            &gate,
            storage.lanes,
            config.storage.write_hold,
            &shutdown.lanes,
            &shutdown.supervisor,
        );
        let node = NodeId::new(&uuid::Uuid::new_v4().simple().to_string());
        let compactor = Compactor::start(
            Arc::clone(&storage.provider),
            gate.clone(),
            node.clone(),
            config.storage.compaction.clone(),
            shutdown.drain.clone(),
            &shutdown.rooms,
            &shutdown.supervisor,
        );
        let (bus, heard) = join_nodes(&config, &node, &shutdown).await?;
        let is_shared = durability == Durability::Server;
        warn_of_limits(durability, &*bus);
        let provider = storage.provider;
        let identity = provider.identity().await.map_err(OpenError::from)?;
        let peers =
            Arc::new(Peers::new(Arc::clone(&bus), Arc::clone(&provider), is_shared, identity));
        let limits = limits(&config);
        let rooms = Arc::new(Rooms::new(Services {
            hub: Hub::new(bus, EditBudget::new(config.storage.in_flight_bytes)),
            loads: Loads::new(Arc::clone(&provider), gate.clone(), storage.loads),
            gate,
            committer,
            write_hold: config.storage.write_hold,
            compactor,
            peers: Arc::clone(&peers),
            recent: Arc::new(RecentBudget::new(config.storage.failover_keep_bytes)),
            limits: limits.clone(),
            shutdown: shutdown.clone(),
        }));
        let open_rooms: Arc<dyn OpenRooms> = Arc::clone(&rooms) as _;
        peers.start(&Arc::downgrade(&open_rooms), heard, &shutdown.supervisor);
        let connections = Connections::new(
            Arc::clone(&rooms),
            node,
            limits,
            Settings::from(&config.ws),
            shutdown.clone(),
        );
        let app = App {
            rooms,
            peers,
            provider,
            connections,
            admission: Arc::new(admission(&config)),
            readiness: Readiness::default(),
            cors: config.cors.clone(),
            started: Instant::now(),
            shutdown,
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
        let shutdown = self.app.shutdown.clone();
        let router = http::router(Arc::clone(&self.app));
        for socket in self.listeners {
            let (router, intake) = (router.clone(), shutdown.intake.clone());
            let tasks = shutdown.readers.clone();
            let listener = Listener { socket, router, intake, tasks };
            // Safe to run again: it holds nothing but the socket.
            let (tasks, supervisor) = (&shutdown.readers, &shutdown.supervisor);
            supervisor.spawn(tasks, "listener", listener, |listener| Box::pin(listener.run()));
        }
        let asked = async {
            stop.cancelled().await;
            tracing::info!("leaving");
            shutdown.leave(self.config.shutdown_delay).await;
        };
        let has_failed = tokio::select! {
            () = asked => false,
            () = shutdown.supervisor.failed() => true,
        };
        tracing::info!("stopping");
        let in_time = shutdown.run(self.config.shutdown_deadline).await;
        self.app.peers.close().await;
        tracing::info!(in_time, "stopped");
        match (has_failed, in_time) {
            (true, _) => Err(Error::Failed),
            (false, true) => Ok(()),
            (false, false) => Err(Error::Shutdown),
        }
    }
}

async fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Error> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error::Listen { address: *address, source })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

async fn open_storage(
    config: &config::StorageConfig,
    listeners: &[TcpListener],
) -> Result<Storage, Error> {
    let storage = storage::from_config(config)?;
    let opened = storage.provider.initialize();
    let opened = http::answer_during(listeners, &storage.provider, opened).await;
    opened.map_err(|error| match &config.provider {
        config::StorageProvider::Sqlite(_) => Error::File(error),
        _ => Error::Storage(error),
    })?;
    Ok(storage)
}

/// The way to the other nodes, and what comes over it.
async fn join_nodes(
    config: &Config,
    node: &NodeId,
    shutdown: &Shutdown,
) -> Result<(Arc<dyn Bus>, mpsc::Receiver<BusEvent>), Error> {
    let (events, heard) = mpsc::channel(bus::EVENTS_WAITING_MAX);
    let Some(redis) = &config.storage.redis else {
        return Ok((Arc::new(LocalNetwork::new().join(node.clone(), events)), heard));
    };
    let options = RedisOptions::new(redis.endpoint.clone(), redis.prefix.as_str());
    let bus = RedisBus::start(options, node.clone(), events, &shutdown.lanes, &shutdown.supervisor)
        .await
        .map_err(|error| Error::Bus(error.to_string()))?;
    Ok((Arc::new(bus), heard))
}

/// Says what the chosen storage can't promise.
fn warn_of_limits(durability: Durability, bus: &dyn Bus) {
    if durability == Durability::Process {
        tracing::warn!("documents live in memory only and are gone when the server stops");
    }
    if durability != Durability::Server && !bus.is_alone() {
        tracing::warn!(
            "nodes share no store: what one has not sent to another when it stops is lost"
        );
    }
}

fn admission(config: &Config) -> Admission {
    Admission::new(config.ws.max_connections, config.ws.max_connections_per_ip)
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
mod tests;
