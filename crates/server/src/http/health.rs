//! Is the process alive, and can it serve?

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use synckit_store::StorageProvider;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::App;
use crate::bus::Link;
use crate::peers::Peers;

/// How long an answer is given again without asking anybody.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// How long a dependency may take to answer.
const CHECK_DEADLINE: Duration = Duration::from_secs(2);

/// The last answer of every dependency, asked for at most once in [`FRESH_FOR`].
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// Held while asking, so that many askers cause one question.
    last: Mutex<Option<(Instant, Checks)>>,
}

#[derive(Debug, Clone)]
struct Checks {
    store: Check,
    /// Where there can be other nodes.
    bus: Option<Check>,
}

/// What one dependency answered.
#[derive(Debug, Clone)]
struct Check {
    healthy: bool,
    description: String,
    latency: Option<Duration>,
}

impl Readiness {
    async fn check(&self, provider: &dyn StorageProvider, peers: &Peers) -> Checks {
        let mut last = self.last.lock().await;
        if let Some((at, checks)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return checks.clone();
        }
        let (store, bus) = tokio::join!(check_store(provider), check_bus(peers));
        let checks = Checks { store, bus };
        *last = Some((Instant::now(), checks.clone()));
        checks
    }
}

impl Check {
    fn silent() -> Self {
        let description = format!("no answer within {CHECK_DEADLINE:?}");
        Self { healthy: false, description, latency: None }
    }

    fn as_json(&self, when_not: &str) -> Value {
        let mut result = json!({
            "status": if self.healthy { "Healthy" } else { when_not },
            "description": self.description,
        });
        if let Some(latency) = self.latency {
            result["latencyMs"] = json!(latency.as_secs_f64() * 1_000.0);
        }
        result
    }
}

async fn check_store(provider: &dyn StorageProvider) -> Check {
    match tokio::time::timeout(CHECK_DEADLINE, provider.check_health()).await {
        Ok(Ok(health)) => Check {
            healthy: true,
            description: format!("{} answers", provider.name()),
            latency: Some(health.latency),
        },
        Ok(Err(error)) => Check { healthy: false, description: error.to_string(), latency: None },
        Err(_) => Check::silent(),
    }
}

async fn check_bus(peers: &Peers) -> Option<Check> {
    if peers.is_alone() {
        return None;
    }
    Some(match tokio::time::timeout(CHECK_DEADLINE, peers.bus().check()).await {
        Ok(Link::Up { latency }) => Check {
            healthy: true,
            description: format!("{} answers, {} other nodes", peers.bus().name(), peers.known()),
            latency: Some(latency),
        },
        Ok(Link::None) => return None,
        Ok(Link::Down(reason)) => Check {
            healthy: false,
            description: if peers.is_store_shared() {
                format!(
                    "{reason}; edits are stored and acknowledged, other nodes show them later \
                     (they look into the store), presence of other nodes is missing"
                )
            } else {
                format!("{reason}; edits on this node stay on it until the link is back")
            },
            latency: None,
        },
        Err(_) => Check::silent(),
    })
}

/// `GET /health/live`: the process turns. Asks nobody, so that a database that is gone restarts
/// no server.
pub(super) async fn live() -> Response {
    Json(json!({ "status": "Healthy" })).into_response()
}

/// `GET /health/ready`: 200 when edits can be stored, else 503 with the cause. Without the other
/// nodes a shared store still holds the truth, so that state is degraded rather than unhealthy.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.hub.shutdown.intake.is_cancelled() {
        let server = json!({ "status": "Unhealthy", "description": "shutting down" });
        return answer("Unhealthy", &json!({ "server": server }));
    }
    let (provider, peers) = (&*app.hub.provider, &*app.hub.peers);
    let Checks { store, bus } = app.readiness.check(provider, peers).await;
    let mut results = json!({ provider.name(): store.as_json("Unhealthy") });
    let mut status = if store.healthy { "Healthy" } else { "Unhealthy" };
    if let Some(bus) = bus {
        let when_not = if peers.is_store_shared() { "Degraded" } else { "Unhealthy" };
        if store.healthy && !bus.healthy {
            status = when_not;
        }
        let mut result = bus.as_json(when_not);
        // Messages to other nodes that found no place; what they said was found out later.
        result["droppedMessages"] = json!(peers.bus().dropped());
        results[peers.bus().name()] = result;
    }
    answer(status, &results)
}

fn answer(status: &str, results: &Value) -> Response {
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
        "documents": { "totalDocuments": app.hub.rooms_open() },
    }))
    .into_response()
}
