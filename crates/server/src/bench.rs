//! The command `bench`: gives the load generator what only the server has, which is its settings,
//! its binary and its way to the store.

use std::sync::Arc;

use synckit_bench::store::{Load, Path};
use synckit_bench::{Error, Scenario, Servers, store};
use synckit_engine::delta::Delta;
use synckit_engine::ids::DocumentId;
use synckit_engine::room::{Input, TicketId};
use synckit_engine::snapshot::Snapshot;
use synckit_store::StorageProvider;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::cli::BenchFlags;
use crate::config::{Config, StorageConfig};
use crate::rooms::committer::{Committer, Ticket};
use crate::rooms::gate::Gate;
use crate::rooms::loader;
use crate::rooms::reply::Reply;
use crate::storage;
use crate::supervision::Supervisor;

/// Runs one scenario and returns its report as text.
///
/// # Errors
/// [`Error`] when the server or a client failed; there is no report in part.
pub async fn run(flags: &BenchFlags, config: &Config) -> Result<String, Error> {
    if let Scenario::Store { stored, clients, writers, documents } = &flags.load.scenario {
        let (stored, clients, duration) = (*stored, *clients, flags.load.duration());
        let load = Load { stored, clients, writers, documents, duration };
        return run_store(&config.storage, &load).await;
    }
    let servers = Servers {
        program: std::env::current_exe()?,
        arguments: flags.server_arguments(),
        are_connected: config.storage.redis.is_some(),
    };
    synckit_bench::run(&flags.load, &servers).await
}

async fn run_store(config: &StorageConfig, load: &Load<'_>) -> Result<String, Error> {
    let storage = storage::from_config(config)?;
    let provider = storage.provider;
    provider.initialize().await?;
    let tasks = TaskTracker::new();
    let supervisor = Supervisor::default();
    let gate = Gate::start(&provider, &tasks, &supervisor);
    let (lanes, hold) = (storage.lanes, config.write_hold);
    let committer = Committer::start(&provider, &gate, lanes, hold, &tasks, &supervisor);
    let path = Lanes { committer, provider: Arc::clone(&provider) };
    store::run(&*provider, storage.lanes, &path, load).await
}

/// Lanes without rooms before them.
#[derive(Clone)]
struct Lanes {
    committer: Committer,
    provider: Arc<dyn StorageProvider>,
}

impl Path for Lanes {
    async fn store(&self, document: DocumentId, delta: Delta) -> Result<(), Error> {
        let (reply, mut answers) = mpsc::channel(1);
        let lane = self.committer.lane(&document);
        let (id, deltas, since) = (TicketId(1), vec![delta], Instant::now());
        let reply = Reply::new(id, reply);
        let ticket = Ticket { document, deltas, since, place: None, reply };
        lane.send(ticket).await.map_err(|_| Error::Server("the lane ended".to_owned()))?;
        match answers.recv().await {
            Some(Input::Stored { .. }) => Ok(()),
            other => Err(Error::Answer(format!("not stored: {other:?}"))),
        }
    }

    async fn load(&self, document: &DocumentId) -> Result<Snapshot, Error> {
        let loaded = loader::load(self.provider.documents(), document).await?;
        Ok(loaded.snapshot)
    }
}
