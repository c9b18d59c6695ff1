//! The load generator: loads a server with clients that cost little and says what it did, so that an
//! operator can take the figures of `docs/benchmarks.md` on the own machine.
//!
//! It knows a server as a program that says where it listens, or as a URL; and for [`store`] what
//! the server gives it. Unless it is given a URL it starts a server of its own and stops it at the
//! end; then it also knows the CPU it used.
//!
//! - [`flags`]: what to measure
//! - scenarios: `edits`, `join`, `text`, `awareness`, `idle`, `nodes`, [`store`]
//! - what they are made of: `target` is the server under load, `client` a client, `report` figures

mod awareness;
mod client;
mod edits;
pub mod flags;
mod idle;
mod join;
mod nodes;
mod report;
pub mod store;
mod target;
mod text;

use std::path::PathBuf;
use std::time::Duration;

use synckit_client::handshake::ConnectError;
use synckit_client::websocket::Closed;

pub use flags::{Flags, Scenario};
use target::Target;

/// How long clients may take to connect and subscribe, and to hear their last answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a benchmark gave no figures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server did not start, or is not there.
    #[error("server: {0}")]
    Server(String),
    /// The network failed.
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
    /// There is no connection.
    #[error("connection: {0}")]
    Connect(#[from] ConnectError),
    /// A connection ended.
    #[error("the server closed the connection: {0}")]
    Closed(#[from] Closed),
    /// The server said something that is no answer.
    #[error("answer: {0}")]
    Answer(String),
    /// It took longer than it may.
    #[error("no answer within {PATIENCE:?}")]
    Silent,
}

/// How servers are started that have the settings of this process.
#[derive(Debug, Clone)]
pub struct Servers {
    /// The program; it says `listening on http://HOST:PORT`.
    pub program: PathBuf,
    /// What comes before the addresses and the settings of the benchmark.
    pub arguments: Vec<String>,
    /// Whether several of them are one community.
    pub are_connected: bool,
}

/// Runs one scenario against servers and returns its report as text.
///
/// # Errors
/// [`Error`] when the server or a client failed; there is no report in part. [`Scenario::Store`] has
/// no server: see [`store::run`].
pub async fn run(flags: &Flags, servers: &Servers) -> Result<String, Error> {
    let seconds = flags.duration();
    let target = async || match &flags.url {
        Some(url) => Target::running(url, flags.pid),
        None => Target::start(servers).await,
    };
    match &flags.scenario {
        &Scenario::Acks { clients, window, documents } => {
            let documents = documents.unwrap_or(clients);
            edits::acks(&target().await?, clients, window, documents, seconds).await
        }
        &Scenario::Fanout { documents, readers, window } => {
            edits::fan_out(&target().await?, documents, readers, window, seconds).await
        }
        &Scenario::Text { characters } => text::run(&target().await?, characters, seconds).await,
        &Scenario::Presence { clients } => awareness::run(&target().await?, clients, seconds).await,
        &Scenario::Join { clients, kilobytes } => {
            join::run(&target().await?, clients, kilobytes).await
        }
        Scenario::Nodes { nodes, documents } => {
            if !servers.are_connected || flags.url.is_some() {
                let hint = "nodes are started by this command, with storage.redis.enabled=true";
                return Err(Error::Server(hint.to_owned()));
            }
            nodes::run(servers, nodes, *documents, seconds).await
        }
        &Scenario::Idle { connections } => idle::run(&target().await?, connections).await,
        Scenario::Store { .. } => Err(Error::Server("the store alone has no server".to_owned())),
    }
}
