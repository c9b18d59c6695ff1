//! The HTTP side: upgrades, information and health.
//!
//! Owns the routes and their answers. Must not know frames, sessions or how a room works.

mod app;
mod health;
mod info;
mod readiness;
mod upgrade;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::config::CorsOrigins;
pub(crate) use app::App;
pub(crate) use readiness::Readiness;

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
