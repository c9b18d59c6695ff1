//! How a TCP connection becomes a WebSocket.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use crate::websocket::FrameBuffer;

/// The longest head of an HTTP answer.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How much of the text of an answer is kept.
const BODY_BYTES_MAX: usize = 1 << 10;

const READ_BYTES: usize = 4 << 10;

/// How long a client waits for a connection with its upgrade.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL makes no sense to this client.
    #[error("{0:?} is not like ws://127.0.0.1:8080/ws")]
    Url(String),
    /// The network said no.
    #[error("no connection: {0}")]
    Io(#[from] std::io::Error),
    /// The server answered, and not with an upgrade.
    #[error("no upgrade: {0}")]
    TurnedAway(TurnedAway),
    /// What answered is no WebSocket server.
    #[error("not an answer of a WebSocket server: {0}")]
    NotWebSocket(String),
    /// No answer in time.
    #[error("no answer within {CONNECT_PATIENCE:?}")]
    Silent,
}

/// An answer to the request for an upgrade that is no upgrade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("status {status}: {reason}")]
pub struct TurnedAway {
    /// The HTTP status.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The text of the answer.
    pub reason: String,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `host:port`
    pub host: String,
    /// The path with its query.
    pub path: String,
}

impl Address {
    /// Of a URL such as `ws://localhost:8080/ws`. Without a port it is 80.
    ///
    /// # Errors
    /// [`ConnectError::Url`]
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        let wrong = || ConnectError::Url(url.to_owned());
        let rest = url.strip_prefix("ws://").ok_or_else(wrong)?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if host.is_empty() || !url.chars().all(|letter| letter.is_ascii_graphic()) {
            return Err(wrong());
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let host = if has_port { host.to_owned() } else { format!("{host}:80") };
        Ok(Self { host, path: if path.is_empty() { "/ws" } else { path }.to_owned() })
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.to_string(), path: "/ws".to_owned() }
    }
}

/// Asks for an upgrade and waits for it; gives what came behind the answer.
///
/// # Errors
/// [`ConnectError`] when there is no upgrade; there is no limit of time here.
pub async fn upgrade(
    stream: &mut TcpStream,
    address: &Address,
) -> Result<FrameBuffer, ConnectError> {
    let Address { host, path } = address;
    let key = generate_key();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut received = Vec::with_capacity(READ_BYTES);
    let end = loop {
        if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if received.len() > HEAD_BYTES_MAX {
            return Err(ConnectError::NotWebSocket("its head has no end".to_owned()));
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    };
    let behind = received.split_off(end);
    let head = String::from_utf8_lossy(&received).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    match status.filter(|_| head.starts_with("HTTP/1.1 ")) {
        Some(101)
            if header(&head, "sec-websocket-accept")
                == Some(&*derive_accept_key(key.as_bytes())) =>
        {
            Ok(FrameBuffer::starting_with(behind))
        }
        Some(101) | None => Err(ConnectError::NotWebSocket(first_line(&head))),
        Some(status) => Err(turned_away(stream, status, &head, behind).await),
    }
}

async fn turned_away(
    stream: &mut TcpStream,
    status: u16,
    head: &str,
    mut body: Vec<u8>,
) -> ConnectError {
    let length = header(head, "content-length").and_then(|length| length.parse().ok());
    let length = length.unwrap_or(0).min(BODY_BYTES_MAX);
    // The status says enough, whether or not the text comes.
    while body.len() < length && matches!(stream.read_buf(&mut body).await, Ok(1..)) {}
    body.truncate(length);
    let seconds = header(head, "retry-after").and_then(|seconds| seconds.parse().ok());
    let retry_after = seconds.map(Duration::from_secs);
    let reason = if body.is_empty() {
        first_line(head)
    } else {
        String::from_utf8_lossy(&body).trim().to_owned()
    };
    ConnectError::TurnedAway(TurnedAway { status, retry_after, reason })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn first_line(head: &str) -> String {
    head.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_host_a_port_and_a_path() {
        for (url, host, path) in [
            ("ws://localhost:8080/ws", "localhost:8080", "/ws"),
            ("ws://example.org/sync?a=b", "example.org:80", "/sync?a=b"),
            ("ws://[::1]:9", "[::1]:9", "/ws"),
            ("ws://[::1]/", "[::1]:80", "/"),
        ] {
            let address = Address { host: host.to_owned(), path: path.to_owned() };
            assert_eq!(Address::from_url(url).unwrap(), address);
        }
        for url in ["http://localhost", "wss://localhost", "ws://", "localhost:80", "ws://a b"] {
            assert!(Address::from_url(url).is_err(), "{url}");
        }
    }
}
