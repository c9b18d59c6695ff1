//! Is the process alive, and can it serve?

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::app::App;
use super::readiness::Checks;

/// `GET /health/live`: the process turns. Asks nobody, so that a database that is gone restarts
/// no server.
pub(super) async fn live() -> Response {
    Json(json!({ "status": "Healthy" })).into_response()
}

/// `GET /health/ready`: 200 when edits can be stored, else 503 with the cause. Without the other
/// nodes a shared store still holds the truth, so that state is degraded rather than unhealthy.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.shutdown.leaving.is_cancelled() {
        let server = json!({ "status": "Unhealthy", "description": "shutting down" });
        return answer("Unhealthy", &json!({ "server": server }));
    }
    let (provider, peers) = (&*app.provider, &*app.peers);
    let Checks { store, bus } = app.readiness.check(provider, &app.rooms, peers).await;
    let mut results = json!({ provider.name(): store.as_json("Unhealthy", ["db", "ready"]) });
    let mut status = if store.healthy { "Healthy" } else { "Unhealthy" };
    if let Some(bus) = bus {
        let when_not = if peers.is_store_shared() { "Degraded" } else { "Unhealthy" };
        if store.healthy && !bus.healthy {
            status = when_not;
        }
        let mut result = bus.as_json(when_not, ["cache", "ready"]);
        // Messages to other nodes that found no place; what they said was found out later.
        result["droppedMessages"] = json!(peers.bus().dropped());
        results[peers.bus().name()] = result;
    }
    answer(status, &results)
}

pub(super) fn answer(status: &str, results: &Value) -> Response {
    let code = match status {
        "Unhealthy" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    (code, Json(json!({ "status": status, "results": results }))).into_response()
}

/// `GET /health`: the shape that clients of the reference server poll. Names no documents.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let connections = app.admission.open();
    Json(json!({
        "status": "healthy",
        "timestamp": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": app.started.elapsed().as_secs_f64(),
        "connections": { "totalConnections": connections },
        "documents": { "totalDocuments": app.rooms.open() },
    }))
    .into_response()
}
