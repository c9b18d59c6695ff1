//! The HTTP side: upgrades, information and health.

mod health;
mod upgrade;

use std::sync::Arc;
use std::time::Instant;

use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::config::CorsOrigins;
use crate::connection::Connections;
use crate::connection::admission::Admission;
use crate::hub::Hub;
pub(crate) use health::Readiness;

/// What requests need.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) hub: Arc<Hub>,
    pub(crate) connections: Connections,
    pub(crate) admission: Arc<Admission>,
    pub(crate) readiness: Readiness,
    pub(crate) cors: CorsOrigins,
    pub(crate) started: Instant,
}

/// All routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(upgrade::upgrade_or_info))
        .route("/ws", get(upgrade::upgrade_only))
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .layer(cors(&app.cors))
        .layer(SetResponseHeaderLayer::overriding(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .with_state(app)
}

/// What the server is and where to find what.
async fn info() -> Response {
    Json(json!({
        "name": "SyncKit Server",
        "version": env!("CARGO_PKG_VERSION"),
        "description": env!("CARGO_PKG_DESCRIPTION"),
        "endpoints": { "health": "/health", "ws": "/ws" },
        "features": { "websocket": true, "sync": true, "crdt": true, "auth": false },
    }))
    .into_response()
}

/// Lets pages of the configured origins read the answers.
fn cors(origins: &CorsOrigins) -> CorsLayer {
    let origin = match origins.clone() {
        CorsOrigins::Any => AllowOrigin::any(),
        CorsOrigins::Listed(listed) => AllowOrigin::predicate(move |origin, _| {
            origin.to_str().is_ok_and(|origin| listed.contains(&origin.to_ascii_lowercase()))
        }),
    };
    CorsLayer::new().allow_origin(origin).allow_methods([Method::GET, Method::HEAD])
}
