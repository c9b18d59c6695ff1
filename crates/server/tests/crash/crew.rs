//! All clients of a store: they write at once, and go on after a kill where they were.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::random::Plan;
use crate::writer::{Progress, Writer, connect};

pub(crate) const WRITERS: u64 = 256;
pub(crate) const DOCUMENTS: u64 = 24;

/// The bound of every wait. Far above what anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Writers, between rounds.
pub(crate) struct Crew {
    pub(crate) writers: Vec<Writer>,
}

/// Writers at work.
pub(crate) struct Shift {
    writing: JoinSet<Writer>,
    progress: watch::Sender<Progress>,
}

impl Crew {
    pub(crate) fn new(plan: Plan, store: &str) -> Self {
        let writer = |number| Writer::new(number, DOCUMENTS, plan.part(store, number));
        Self { writers: (0..WRITERS).map(writer).collect() }
    }

    /// Connects everyone, then starts everyone.
    pub(crate) async fn start(self, address: &str) -> Shift {
        let (progress, _) = watch::channel(Progress::default());
        let mut connections = Vec::with_capacity(self.writers.len());
        for _ in &self.writers {
            connections.push(connect(address).await);
        }
        let mut writing = JoinSet::new();
        for (mut writer, connection) in self.writers.into_iter().zip(connections) {
            let progress = progress.clone();
            writing.spawn(async move {
                writer.write(connection, &progress).await;
                writer
            });
        }
        Shift { writing, progress }
    }

    /// How many edits were sent, and how many of those were acknowledged.
    pub(crate) fn edits(&self) -> (u64, u64) {
        let mut counts = (0, 0);
        for message in self.writers.iter().flat_map(|writer| &writer.messages) {
            counts.0 += message.edits.len() as u64;
            if message.is_acknowledged {
                counts.1 += message.edits.len() as u64;
            }
        }
        counts
    }
}

impl Shift {
    /// Waits until so many messages more were acknowledged.
    pub(crate) async fn more_acknowledgements(&self, count: u64) {
        let wanted = self.progress.borrow().acknowledged + count;
        let mut progress = self.progress.subscribe();
        let reached = progress.wait_for(|progress| progress.acknowledged >= wanted);
        let reached = timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "{count} acknowledgements in {PATIENCE:?}");
    }

    /// Sends nothing new, and waits until everything is acknowledged.
    pub(crate) async fn finish(self) -> Crew {
        self.progress.send_modify(|progress| progress.finishing = true);
        let crew = self.ended().await;
        for message in crew.writers.iter().flat_map(|writer| &writer.messages) {
            assert!(message.is_acknowledged, "a connection ended before {message:?}");
        }
        crew
    }

    /// Waits until everyone has noticed that the server is gone.
    pub(crate) async fn ended(mut self) -> Crew {
        let mut writers = Vec::new();
        let all = async {
            while let Some(writer) = self.writing.join_next().await {
                writers.push(writer.expect("a writer does not panic"));
            }
        };
        timeout(PATIENCE, all).await.expect("every connection ends in time");
        Crew { writers }
    }
}
