//! What is answered while the server starts: a migration may wait for others, and a process that
//! answers nobody meanwhile would be killed for it.

use std::os::fd::AsFd as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use synckit_store::StorageProvider;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::health;

/// Most starts take less, and then who connects meanwhile is served a moment later rather than sent
/// away.
const QUIET: Duration = Duration::from_millis(500);

/// What an answer under way may still take when the server is ready to take over.
const CLOSE_DEADLINE: Duration = Duration::from_millis(500);

/// What a client that is sent away may wait, in seconds.
const RETRY_AFTER: &str = "1";

/// Runs `start`, and answers on `listeners` while it takes.
pub(crate) async fn answer_during<T>(
    listeners: &[TcpListener],
    provider: &Arc<dyn StorageProvider>,
    start: impl Future<Output = T>,
) -> T {
    let mut start = pin!(start);
    if let Ok(started) = timeout(QUIET, &mut start).await {
        return started;
    }
    let router = Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(ready))
        .fallback(later)
        .with_state(Arc::clone(provider));
    let stop = CancellationToken::new();
    // Aborted with this future.
    let mut doors = JoinSet::new();
    for listener in listeners {
        match twin(listener) {
            Ok(listener) => {
                let serve = axum::serve(listener, router.clone());
                let serve = serve.with_graceful_shutdown(stop.clone().cancelled_owned());
                doors.spawn(serve.into_future());
            }
            Err(error) => tracing::warn!(%error, "nobody is answered before the server is ready"),
        }
    }
    let started = start.await;
    stop.cancel();
    let closed = async { while doors.join_next().await.is_some() {} };
    // A request that never ends is cut off.
    let _ = timeout(CLOSE_DEADLINE, closed).await;
    started
}

/// The same socket once more: what nobody accepts here waits for the server.
fn twin(listener: &TcpListener) -> std::io::Result<TcpListener> {
    let socket = std::net::TcpListener::from(listener.as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

async fn ready(State(provider): State<Arc<dyn StorageProvider>>) -> Response {
    let description = match provider.waits_for() {
        Some(what) => format!("starting, waiting: {what}"),
        None => "starting".to_owned(),
    };
    let result = json!({ "status": "Unhealthy", "description": description });
    health::answer("Unhealthy", &json!({ provider.name(): result }))
}

async fn later() -> Response {
    let retry = [(header::RETRY_AFTER, RETRY_AFTER)];
    (StatusCode::SERVICE_UNAVAILABLE, retry, "the server is starting\n").into_response()
}
