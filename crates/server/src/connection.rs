//! One WebSocket connection: a task that reads and a task that writes.
//!
//! The reader decodes frames, asks the session what they mean and gives commands to rooms; it
//! waits when a room is full, and so the client's TCP window closes. The writer sends what the
//! outbox holds, as much as is ready in one write. Nothing ever waits for a client.
//!
//! Owns one socket from its upgrade to its end (`reader` with `frame_reader`, `writer`), and how
//! many there may be (`admission`). Must not know HTTP, what a room does, or other nodes.

pub(crate) mod admission;
mod frame_reader;
mod reader;
mod settings;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use synckit_engine::ids::{ClientId, NodeId, SessionId};
use synckit_engine::limits::Limits;
use synckit_engine::session::{Identity, Session};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::outbox::Outbox;
use crate::rooms::Rooms;
use crate::shutdown::Shutdown;
use admission::Admitted;
pub(crate) use settings::Settings;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Connections {
    rooms: Arc<Rooms>,
    node: NodeId,
    last_session: AtomicU64,
    limits: Limits,
    settings: Settings,
    shutdown: Shutdown,
}

impl Connections {
    pub(crate) fn new(
        rooms: Arc<Rooms>,
        node: NodeId,
        limits: Limits,
        settings: Settings,
        shutdown: Shutdown,
    ) -> Self {
        Self { rooms, node, last_session: AtomicU64::new(0), limits, settings, shutdown }
    }

    /// Serves one connection whose upgrade was answered. `early` is what the client sent behind
    /// its request.
    pub(crate) fn serve(&self, stream: TcpStream, early: Bytes, admitted: Admitted) {
        let id = SessionId(self.last_session.fetch_add(1, Ordering::Relaxed) + 1);
        let name = format!("conn-{}-{}", self.node.as_str(), id.0);
        let Ok(name) = ClientId::new(&name) else { return };
        let limits = self.limits.clone();
        // Authentication is switched off by name, or the server would not have started.
        let session = Session::new(id, name, Some(Identity::anonymous()), limits);
        let outbox = Arc::new(Outbox::new(id, self.settings.outbox_bytes_max));
        let (read_half, write_half) = stream.into_split();
        let gone = CancellationToken::new();
        let shutdown = &self.shutdown;
        shutdown.writers.spawn(writer::run(
            write_half,
            Arc::clone(&outbox),
            shutdown.goodbye(id),
            gone.clone(),
            admitted,
        ));
        let reader = reader::Reader::new(
            session,
            outbox,
            Arc::clone(&self.rooms),
            self.settings.clone(),
            gone,
        );
        let intake = shutdown.intake.clone();
        shutdown.readers.spawn(Box::new(reader).run(read_half, early, intake));
    }
}
