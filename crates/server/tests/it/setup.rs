//! Servers to test, and what they say over HTTP.

use std::future::Future;
use std::time::Duration;

use serde_json::Value;
use synckit_testkit::{ServerCommand, ServerProcess};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, timeout};

use crate::client::PATIENCE;

/// Between two looks at a condition that nobody announces.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A server on the database at `url`, with settings written as `key=value`.
pub(crate) fn server_command(url: &str, settings: &[&str]) -> ServerCommand {
    let command = ServerCommand::new(env!("CARGO_BIN_EXE_synckit-server"))
        .env("SYNCKIT_AUTH_REQUIRED", "false")
        .env("DATABASE_URL", url);
    with_settings(command, settings)
}

/// A server that keeps documents in memory.
pub(crate) fn memory_server_command(settings: &[&str]) -> ServerCommand {
    let command = ServerCommand::new(env!("CARGO_BIN_EXE_synckit-server"))
        .env("SYNCKIT_AUTH_REQUIRED", "false");
    with_settings(command, settings)
}

/// A server as a bare process, for tests of what surrounds one. It keeps documents in memory unless
/// the environment says something else, and is killed with the value.
pub(crate) fn raw_command(arguments: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_synckit-server"));
    command.args(arguments).env_clear().env("SYNCKIT_AUTH_REQUIRED", "false").kill_on_drop(true);
    command
}

/// SIGTERM.
pub(crate) fn terminate(child: &tokio::process::Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.and_then(rustix::process::Pid::from_raw).expect("it runs");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is there");
}

fn with_settings(command: ServerCommand, settings: &[&str]) -> ServerCommand {
    settings.iter().fold(command, |command, setting| command.args(["--set", setting]))
}

pub(crate) async fn start_server(url: &str, settings: &[&str]) -> ServerProcess {
    server_command(url, settings).start().await
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none in time; `condition` says what was waited for.
pub(crate) async fn until<T, Answer: Future<Output = Option<T>>>(
    condition: &str,
    mut ask: impl FnMut() -> Answer,
) -> T {
    let end = Instant::now() + PATIENCE;
    let mut looks = interval(LOOK_AGAIN);
    loop {
        looks.tick().await;
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {condition}");
    }
}

/// What a server answers to a request.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    /// Null unless it is JSON.
    pub(crate) body: Value,
}

pub(crate) async fn http_get(address: &str, path: &str) -> HttpAnswer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text)
    };
    let text = timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| panic!("GET {path}: no answer within {PATIENCE:?}"))
        .unwrap_or_else(|error| panic!("GET {path}: {error}"));
    let (head, body) = text.split_once("\r\n\r\n").expect("an HTTP answer has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    HttpAnswer {
        status: status.expect("an HTTP answer has a status"),
        body: serde_json::from_str(body).unwrap_or_default(),
    }
}

/// Waits until `/health/ready` answers with a status, and returns that answer.
pub(crate) async fn until_ready_is(server: &ServerProcess, status: u16) -> HttpAnswer {
    until(&format!("/health/ready is {status}"), || async {
        let answer = http_get(server.address(), "/health/ready").await;
        (answer.status == status).then_some(answer)
    })
    .await
}
