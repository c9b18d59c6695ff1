use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{Instant, timeout};

use crate::client::{Client, PATIENCE};
use crate::setup::{http_get, raw_command, terminate};

/// From the signal to the end of a server that has nothing to do, on a busy machine; what it still
/// has to say it may try for a second.
const STOP_WITHIN: Duration = Duration::from_secs(8);

/// Nothing that a client says is left out of the log.
const TALKATIVE: &str = "log.level=trace";

async fn start(stderr: Stdio) -> (Child, String) {
    let mut command = raw_command(&["--urls", "http://127.0.0.1:0", "--set", TALKATIVE]);
    let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("it starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let line = timeout(PATIENCE, stdout.next_line()).await.expect("it gets ready");
    let line = line.ok().flatten().expect("it says where it listens");
    let address = line.strip_prefix("listening on http://").expect("that is its first line");
    (child, address.to_owned())
}

/// A pipe that takes no more, and its other end.
fn full_pipe() -> (Stdio, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().expect("it works");
    rustix::io::ioctl_fionbio(&writer, true).expect("it works");
    while rustix::io::write(&writer, &[b'\n'; 4_096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("it works");
    (Stdio::from(writer), reader)
}

/// Has the server log so many lines.
async fn provoke_lines(address: &str, lines: usize) {
    for _ in 0..lines {
        let mut stream = TcpStream::connect(address).await.expect("it works");
        stream.write_all(b"no HTTP\r\n\r\n").await.expect("it works");
        stream.read_to_end(&mut Vec::new()).await.expect("it works");
    }
}

async fn stop(mut child: Child) {
    let signalled = Instant::now();
    terminate(&child);
    let status = timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it works");
    assert_eq!(status.code(), Some(0));
    let took = signalled.elapsed();
    assert!(took < STOP_WITHIN, "it ended after {took:?}");
}

async fn edits_are_acknowledged(address: &str) {
    let mut client = Client::connect(address).await;
    for number in 0..20 {
        // Documents of all lanes.
        client.set(&format!("doc-{number}"), "field", json!(number)).await;
    }
    assert_eq!(http_get(address, "/health/ready").await.status, 200);
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_harms_nothing() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (child, address) = start(Stdio::from(writer)).await;
    drop(reader);
    provoke_lines(&address, 10).await;
    edits_are_acknowledged(&address).await;
    stop(child).await;
}

#[tokio::test]
async fn a_log_that_is_full_and_not_read_blocks_nothing_not_even_the_end() {
    let (stderr, reader) = full_pipe();
    let (child, address) = start(stderr).await;
    provoke_lines(&address, 10).await;
    edits_are_acknowledged(&address).await;
    stop(child).await;
    drop(reader);
}

#[tokio::test]
async fn a_log_that_is_read_again_goes_on() {
    let (stderr, reader) = full_pipe();
    let (child, address) = start(stderr).await;
    provoke_lines(&address, 10).await;
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        std::fs::File::from(reader).read_to_string(&mut text).map(|_| text)
    });
    stop(child).await;
    let text = timeout(PATIENCE, reading).await.expect("it ends").unwrap().unwrap();
    assert_eq!(text.matches("an HTTP connection failed").count(), 10, "{}", text.trim());
    assert!(text.contains("stopped"), "{}", text.trim());
}
