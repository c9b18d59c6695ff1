//! What the server is.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// What the server is and where to find what.
pub(super) async fn info() -> Response {
    Json(json!({
        "name": "SyncKit Server",
        "version": env!("CARGO_PKG_VERSION"),
        "description": env!("CARGO_PKG_DESCRIPTION"),
        "endpoints": { "health": "/health", "ws": "/ws" },
        "features": { "websocket": true, "sync": true, "crdt": true, "auth": false },
    }))
    .into_response()
}
