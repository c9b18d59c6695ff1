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

/// How long an answer is given again without asking anybody.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// How long a dependency may take to answer.
const CHECK_DEADLINE: Duration = Duration::from_secs(2);

/// The last answer of every dependency, asked for at most once in [`FRESH_FOR`].
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// Held while asking, so that many askers cause one question.
    last: Mutex<Option<(Instant, Check)>>,
}

/// What one dependency answered.
#[derive(Debug, Clone)]
struct Check {
    healthy: bool,
    description: String,
    latency: Option<Duration>,
}

impl Readiness {
    async fn check(&self, provider: &dyn StorageProvider) -> Check {
        let mut last = self.last.lock().await;
        if let Some((at, check)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return check.clone();
        }
        let check = match tokio::time::timeout(CHECK_DEADLINE, provider.check_health()).await {
            Ok(Ok(health)) => Check {
                healthy: true,
                description: format!("{} answers", provider.name()),
                latency: Some(health.latency),
            },
            Ok(Err(error)) => {
                Check { healthy: false, description: error.to_string(), latency: None }
            }
            Err(_) => Check {
                healthy: false,
                description: format!("no answer within {CHECK_DEADLINE:?}"),
                latency: None,
            },
        };
        *last = Some((Instant::now(), check.clone()));
        check
    }
}

/// `GET /health/live`: the process turns. Asks nobody, so that a database that is gone restarts
/// no server.
pub(super) async fn live() -> Response {
    Json(json!({ "status": "Healthy" })).into_response()
}

/// `GET /health/ready`: 200 when edits can be stored, else 503 with the cause.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.hub.shutdown.intake.is_cancelled() {
        let server = json!({ "status": "Unhealthy", "description": "shutting down" });
        return answer(false, &json!({ "server": server }));
    }
    let provider = &*app.hub.provider;
    let check = app.readiness.check(provider).await;
    let mut result = json!({
        "status": if check.healthy { "Healthy" } else { "Unhealthy" },
        "description": check.description,
    });
    if let Some(latency) = check.latency {
        result["latencyMs"] = json!(latency.as_secs_f64() * 1_000.0);
    }
    answer(check.healthy, &json!({ provider.name(): result }))
}

fn answer(healthy: bool, results: &Value) -> Response {
    let (code, status) = if healthy {
        (StatusCode::OK, "Healthy")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Unhealthy")
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
