//! From an HTTP request to a WebSocket connection.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tungstenite::handshake::derive_accept_key;

use super::app::App;
use super::info::info;
use crate::connection::admission::Full;

/// How long a client turned away should wait, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// `GET /`: clients configured without a path connect here, browsers get information.
pub(super) async fn upgrade_or_info(
    state: State<Arc<App>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    if wants_upgrade(request.headers()) { upgrade(state, peer, request) } else { info().await }
}

/// `GET /ws`.
pub(super) async fn upgrade_only(
    state: State<Arc<App>>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    if wants_upgrade(request.headers()) {
        return upgrade(state, peer, request);
    }
    let upgrade = [(header::UPGRADE, HeaderValue::from_static("websocket"))];
    (StatusCode::UPGRADE_REQUIRED, upgrade, "connect with a WebSocket client").into_response()
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket")
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

fn upgrade(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    let bad = |reason: &'static str| (StatusCode::BAD_REQUEST, reason).into_response();
    let headers = request.headers();
    if request.version() != Version::HTTP_11 {
        return bad("a WebSocket upgrade needs HTTP/1.1");
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let version = [(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))];
        return (StatusCode::UPGRADE_REQUIRED, version, "WebSocket version 13").into_response();
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return bad("Sec-WebSocket-Key is missing");
    };
    let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) else {
        return bad("Sec-WebSocket-Key makes no sense");
    };
    let Some(on_upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return bad("this connection can't be upgraded");
    };
    if app.shutdown.intake.is_cancelled() {
        return turn_away(StatusCode::SERVICE_UNAVAILABLE, "Server is shutting down");
    }
    let admitted = match app.admission.admit(peer.ip()) {
        Ok(admitted) => admitted,
        Err(Full::Server) => {
            return turn_away(StatusCode::SERVICE_UNAVAILABLE, "Server at maximum capacity");
        }
        Err(Full::Address) => {
            let reason = "Too many connections from your IP";
            return turn_away(StatusCode::TOO_MANY_REQUESTS, reason);
        }
    };
    let tasks = app.shutdown.readers.clone();
    tasks.spawn(async move {
        let Ok(upgraded) = on_upgrade.await else { return };
        // Every listener is plain TCP, so this is what lies under every upgrade.
        if let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() {
            app.connections.serve(parts.io.into_inner(), parts.read_buf, admitted);
        }
    });
    let switch = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, switch).into_response()
}

fn turn_away(status: StatusCode, reason: &'static str) -> Response {
    (status, [(header::RETRY_AFTER, RETRY_AFTER)], reason).into_response()
}
