//! One WebSocket connection: a task that reads and a task that writes.
//!
//! The reader decodes frames, asks the session what they mean and gives commands to rooms; it
//! waits when a room is full, and so the client's TCP window closes. The writer sends what the
//! outbox holds, as much as is ready in one write. Nothing ever waits for a client.

pub(crate) mod admission;
pub(crate) mod encoding;
mod frames;
pub(crate) mod outbox;
mod reader;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use synckit_engine::ids::{ClientId, NodeId, SessionId};
use synckit_engine::session::{Identity, Session};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::config::WsConfig;
use crate::hub::Hub;
use admission::Admitted;
use outbox::Outbox;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Connections {
    hub: Arc<Hub>,
    node: NodeId,
    last_session: AtomicU64,
    settings: Settings,
}

/// Bounds and timing of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) heartbeat_interval: Duration,
    pub(crate) heartbeat_timeout: Duration,
    pub(crate) frame_bytes_max: usize,
    pub(crate) outbox_bytes_max: usize,
}

impl From<&WsConfig> for Settings {
    fn from(ws: &WsConfig) -> Self {
        Self {
            heartbeat_interval: ws.heartbeat_interval,
            heartbeat_timeout: ws.heartbeat_timeout,
            frame_bytes_max: ws.max_frame_bytes,
            outbox_bytes_max: ws.max_outbox_bytes,
        }
    }
}

impl Connections {
    pub(crate) fn new(hub: Arc<Hub>, node: NodeId, settings: Settings) -> Self {
        Self { hub, node, last_session: AtomicU64::new(0), settings }
    }

    /// Serves one connection whose upgrade was answered. `early` is what the client sent behind
    /// its request.
    pub(crate) fn serve(&self, stream: TcpStream, early: Bytes, admitted: Admitted) {
        let id = SessionId(self.last_session.fetch_add(1, Ordering::Relaxed) + 1);
        let name = format!("conn-{}-{}", self.node.as_str(), id.0);
        let Ok(name) = ClientId::new(&name) else { return };
        let limits = self.hub.limits.clone();
        // Authentication is switched off by name, or the server would not have started.
        let session = Session::new(id, name, Some(Identity::anonymous()), limits);
        let outbox = Arc::new(Outbox::new(id, self.settings.outbox_bytes_max));
        let (read_half, write_half) = stream.into_split();
        let gone = CancellationToken::new();
        let shutdown = &self.hub.shutdown;
        shutdown.writers.spawn(writer::run(
            write_half,
            Arc::clone(&outbox),
            shutdown.close.clone(),
            gone.clone(),
            admitted,
        ));
        let reader = reader::Reader::new(
            session,
            outbox,
            Arc::clone(&self.hub),
            self.settings.clone(),
            gone,
        );
        shutdown.readers.spawn(Box::new(reader).run(read_half, early));
    }
}
