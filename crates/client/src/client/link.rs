//! The task between the replica and the server: it connects, talks, and connects again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::heartbeat::{Beat, Heartbeat};
use super::{Shared, Status};
use crate::connection::{Connection, Message};
use crate::framing::Framing;
use crate::handshake::Address;
use crate::message::{ClientMessage, ServerMessage, decode};
use crate::now_millis;
use crate::reconnect::{Ended, Pauses};
use crate::websocket::Closed;

/// What may wait to be written, so that a slow connection holds the queue and not a second copy.
const UNWRITTEN_BYTES_MAX: usize = 1 << 20;

pub(super) struct Link {
    shared: Arc<Shared>,
    address: Address,
    token: Option<String>,
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, address: Address, token: Option<String>) -> Self {
        Self { shared, address, token }
    }

    /// Until it is told to end, or the server says not to come back.
    pub(super) async fn run(self) {
        let mut pauses = Pauses::default();
        loop {
            let begun = Instant::now();
            let mut lasted = Duration::ZERO;
            let connection = tokio::select! {
                connection = Connection::connect_to(&self.address) => connection,
                () = self.shared.closing.cancelled() => {
                    return self.shared.end(&"closed by the application");
                }
            };
            let ended = match connection {
                Ok(connection) => {
                    let closed = self.converse(connection).await;
                    lasted = begun.elapsed();
                    self.shared.replica.lock().disconnected();
                    self.shared.publish();
                    Ended::Closed(closed)
                }
                Err(error) => Ended::NotConnected(error),
            };
            if self.shared.closing.is_cancelled() || !ended.may_come_back() {
                return self.shared.end(&ended);
            }
            self.shared.status.send_replace(Status::Connecting(ended.to_string()));
            let pause = pauses.after(&ended, lasted, random());
            tracing::debug!(reason = %ended, ?pause, "no connection");
            // A goodbye to nobody need not wait for the pause.
            let _ = timeout(pause, self.shared.closing.cancelled()).await;
        }
    }

    /// Until the connection ends.
    async fn converse(&self, mut connection: Connection) -> Closed {
        self.shared.replica.lock().connected();
        self.shared.status.send_replace(Status::Connected);
        if let Some(token) = self.token.clone() {
            let _ = queue(&mut connection, None, &ClientMessage::Auth { token: Some(token) });
        }
        let mut heartbeat = Heartbeat::new(Instant::now().into_std());
        loop {
            let wake_at = self.say(&mut connection).unwrap_or_else(|| heartbeat.next());
            let wake_at = Instant::from_std(wake_at.min(heartbeat.next()));
            tokio::select! {
                read = connection.read() => {
                    let heard = read.and_then(|()| self.hear(&mut connection, &mut heartbeat));
                    // Whatever came before the end counts.
                    self.shared.publish();
                    if let Err(closed) = heard {
                        return closed;
                    }
                }
                () = self.shared.work.notified() => {}
                () = sleep_until(wake_at) => match heartbeat.beat(Instant::now().into_std()) {
                    Beat::None => {}
                    Beat::Ping => drop(queue(&mut connection, None, &ClientMessage::Ping {})),
                    Beat::GiveUp => return Closed::without_code(&"no answer to a ping"),
                },
                () = self.shared.closing.cancelled() => return connection.close().await,
            }
        }
    }

    /// Queues what the replica has to say; when to look again.
    fn say(&self, connection: &mut Connection) -> Option<std::time::Instant> {
        let mut replica = self.shared.replica.lock();
        let now = Instant::now().into_std();
        while connection.queued_bytes() < UNWRITTEN_BYTES_MAX {
            let Some(outgoing) = replica.next_message(now) else { break };
            if let Err(error) = queue(connection, outgoing.id.as_deref(), &outgoing.message) {
                tracing::error!(%error, "a message without a JSON form");
            }
        }
        replica.wake_at()
    }

    /// Gives the replica all that was read.
    fn hear(&self, connection: &mut Connection, heartbeat: &mut Heartbeat) -> Result<(), Closed> {
        let mut replica = self.shared.replica.lock();
        let now = Instant::now().into_std();
        while let Some(message) = connection.next_message()? {
            match understand(message) {
                Some(ServerMessage::Pong) => heartbeat.pong(now),
                Some(message) => replica.receive(message, now),
                None => {}
            }
        }
        Ok(())
    }
}

fn queue(
    connection: &mut Connection,
    id: Option<&str>,
    message: &ClientMessage,
) -> Result<(), serde_json::Error> {
    connection.queue(Framing::Binary, now_millis(), id, message)
}

/// None: nothing that this client knows, to be passed over.
fn understand(message: Message<'_>) -> Option<ServerMessage> {
    match decode(message) {
        Ok(received) => received.message,
        Err(error) => {
            tracing::warn!(%error, "the server said what is no message");
            None
        }
    }
}

fn random() -> u32 {
    let [a, b, c, d, ..] = *uuid::Uuid::new_v4().as_bytes();
    u32::from_be_bytes([a, b, c, d])
}
