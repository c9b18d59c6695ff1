//! What requests need.

use std::sync::Arc;
use std::time::Instant;

use synckit_store::StorageProvider;

use super::readiness::Readiness;
use crate::config::CorsOrigins;
use crate::connection::Connections;
use crate::connection::admission::Admission;
use crate::nodes::Peers;
use crate::rooms::Rooms;
use crate::shutdown::Shutdown;

/// One for all requests of a server.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) provider: Arc<dyn StorageProvider>,
    pub(crate) connections: Connections,
    pub(crate) admission: Arc<Admission>,
    pub(crate) readiness: Readiness,
    pub(crate) cors: CorsOrigins,
    pub(crate) started: Instant,
    pub(crate) shutdown: Shutdown,
}
