//! The HTTP side: upgrades, information and health.
//!
//! Owns the routes and their answers. Must not know frames, sessions or how a room works.

mod app;
mod health;
mod info;
mod listener;
mod readiness;
mod starting;
mod upgrade;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, Method, header};
use axum::routing::get;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::config::CorsOrigins;
pub(crate) use app::App;
pub(crate) use listener::Listener;
pub(crate) use readiness::Readiness;
pub(crate) use starting::answer_during;

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
