//! Bounds and timing of a connection.

use std::time::Duration;

use crate::config::WsConfig;

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
