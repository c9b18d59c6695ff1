//! The flags of the command that measures; whoever offers it adds those that name its settings.

use std::time::Duration;

use clap::{Args, Subcommand};

/// What to load, with what, and for how long.
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// Load this running server, such as ws://127.0.0.1:8080, instead of starting one
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The process whose CPU and memory are measured, with --url
    #[arg(long, value_name = "PID", requires = "url")]
    pub pid: Option<u32>,
    /// How long to load the server, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=3_600))]
    pub seconds: u16,
    /// What to measure.
    #[command(subcommand)]
    pub scenario: Scenario,
}

impl Flags {
    /// How long to load.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

/// What is measured.
#[derive(Debug, Clone, Subcommand)]
pub enum Scenario {
    /// Acknowledged edits: clients that each keep a window of unacknowledged edits
    Acks {
        /// Clients
        #[arg(long, default_value_t = 50)]
        clients: u32,
        /// Unacknowledged edits of each
        #[arg(long, default_value_t = 32)]
        window: u32,
        /// Documents they share [default: one for each client]
        #[arg(long)]
        documents: Option<u32>,
    },
    /// Joins: clients that ask for one large document at the same moment
    Join {
        /// Clients
        #[arg(long, default_value_t = 150)]
        clients: u32,
        /// The length of the document, in kilobytes
        #[arg(long, default_value_t = 4_000)]
        kilobytes: u32,
    },
    /// A long text: what typing into it takes, and what it does to the edits of other documents
    Text {
        /// Characters, each typed by itself
        #[arg(long, default_value_t = 100_000)]
        characters: u32,
    },
    /// Presence: clients in one document that each move their cursor once a second
    Presence {
        /// Clients
        #[arg(long, default_value_t = 500)]
        clients: u32,
    },
    /// Deliveries: one writer a document and many readers
    Fanout {
        /// Documents
        #[arg(long, default_value_t = 10)]
        documents: u32,
        /// Readers of each
        #[arg(long, default_value_t = 20)]
        readers: u32,
        /// Unacknowledged edits of each writer
        #[arg(long, default_value_t = 1)]
        window: u32,
    },
    /// The store alone, without sockets: durable deltas, loading, compaction
    Store {
        /// Documents that are stored first, to see how cost grows with them
        #[arg(long, default_value_t = 0)]
        stored: u64,
        /// Clients that have written to each document before
        #[arg(long, default_value_t = 0)]
        clients: u64,
        /// Concurrent writers: a run for each of these
        #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256])]
        writers: Vec<u64>,
        /// Documents that they write to in turn: a run for each of these
        #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000],
            value_parser = clap::value_parser!(u64).range(1..))]
        documents: Vec<u64>,
    },
    /// Several servers on one Redis: what another node adds to the latency, and what it costs
    Nodes {
        /// Servers on this machine: a run for each of these
        #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8],
            value_parser = clap::value_parser!(u32).range(1..=64))]
        nodes: Vec<u32>,
        /// Documents
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
        documents: u32,
    },
    /// Memory of connections that subscribe and do nothing
    Idle {
        /// Connections
        #[arg(long, default_value_t = 1_000)]
        connections: u32,
    },
}
