//! Sends what the outbox holds.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use synckit_engine::wire::CloseCode;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_util::sync::CancellationToken;

use super::admission::Admitted;
use crate::outbox::{Next, Outbox};
use crate::shutdown::Goodbye;

/// A system call of its own costs less than a copy of so much.
const LARGE_BYTES: usize = 64 << 10;

/// Runs until the outbox is closed and sent, the socket fails, or the reader says that the client
/// is gone. The connection's place is given back at the end.
pub(super) async fn run(
    mut socket: OwnedWriteHalf,
    outbox: Arc<Outbox>,
    goodbye: Goodbye,
    gone: CancellationToken,
    admitted: Admitted,
) {
    // However this ends, a panic included, the reader ends too.
    let _gone = gone.clone().drop_guard();
    tokio::select! {
        () = send_all(&mut socket, &outbox, &goodbye) => {}
        () = gone.cancelled() => {}
    }
    outbox.abandon();
    gone.cancel();
    // The client may be gone already; then there is nothing to shut down.
    let _ = socket.shutdown().await;
    drop(admitted);
}

async fn send_all(socket: &mut OwnedWriteHalf, outbox: &Outbox, goodbye: &Goodbye) {
    let mut goodbye = pin!(goodbye.due());
    let mut is_said = false;
    loop {
        let next = tokio::select! {
            next = outbox.next() => next,
            () = &mut goodbye, if !is_said => {
                is_said = true;
                outbox.close(CloseCode::GoingAway, "Server shutdown");
                outbox.next().await
            }
        };
        match next {
            Next::Frames(frames) => {
                if write(socket, frames).await.is_err() {
                    return;
                }
            }
            Next::End => return,
        }
    }
}

/// One system call for small frames however many they are; large ones are not copied.
async fn write(socket: &mut OwnedWriteHalf, frames: Vec<Bytes>) -> std::io::Result<()> {
    for run in frames.chunk_by(|one, next| one.len() < LARGE_BYTES && next.len() < LARGE_BYTES) {
        match run {
            [one] => socket.write_all(one).await?,
            many => socket.write_all(&many.concat()).await?,
        }
    }
    Ok(())
}
