//! The HTTP side: upgrades, information and health.

mod health;
mod upgrade;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

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
        .layer(middleware::from_fn_with_state(Arc::clone(&app), cors))
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
async fn cors(
    State(app): State<Arc<App>>,
    request: axum::extract::Request,
    next: middleware::Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let preflight = request.method() == axum::http::Method::OPTIONS && origin.is_some();
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let allowed = match (&app.cors, origin) {
        (CorsOrigins::Any, _) => Some(HeaderValue::from_static("*")),
        (CorsOrigins::Listed(listed), Some(origin)) => {
            let known = |origin: &str| listed.contains(&origin.to_ascii_lowercase());
            origin.to_str().is_ok_and(known).then_some(origin)
        }
        (CorsOrigins::Listed(_), None) => None,
    };
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if let Some(allowed) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if preflight {
            let methods = HeaderValue::from_static("GET,HEAD");
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
    }
    response
}
