//! The task between the replica and the server: it connects, talks, and connects again.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Shared, Status};
use crate::connection::{Connection, Message};
use crate::framing::Framing;
use crate::handshake::{Address, CONNECT_PATIENCE, ConnectError};
use crate::message::{ClientMessage, ServerMessage, decode};
use crate::now_millis;
use crate::reconnect::{Ended, Pauses};
use crate::websocket::Closed;

/// How often the client asks whether the server is still there.
const PING_EVERY: Duration = Duration::from_secs(30);

/// How long it waits for the answer.
const PONG_PATIENCE: Duration = Duration::from_secs(10);

/// What may wait to be written, so that a slow connection holds the queue and not a second copy.
const UNWRITTEN_BYTES_MAX: usize = 1 << 20;

pub(super) struct Link {
    shared: Arc<Shared>,
    address: Address,
    token: Option<String>,
}

/// When to ask whether the server is there, and when to give it up.
struct Heartbeat {
    ping_at: Instant,
    pong_by: Option<Instant>,
}

impl Heartbeat {
    fn new() -> Self {
        Self { ping_at: Instant::now() + PING_EVERY, pong_by: None }
    }

    fn next(&self) -> Instant {
        self.pong_by.unwrap_or(self.ping_at)
    }
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
                connection = self.connect() => connection,
                () = self.shared.closing.cancelled() => {
                    return self.shared.end(&Closed::without_code(&"closed"));
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
                return self.shared.end(&Closed::without_code(&ended));
            }
            self.shared.status.send_replace(Status::Connecting(ended.to_string()));
            let pause = pauses.after(&ended, lasted, random());
            tracing::debug!(reason = %ended, ?pause, "no connection");
            // A goodbye to nobody need not wait for the pause.
            let _ = timeout(pause, self.shared.closing.cancelled()).await;
        }
    }

    async fn connect(&self) -> Result<Connection, ConnectError> {
        let connect = async {
            let stream = TcpStream::connect(&self.address.host).await?;
            Connection::over(stream, &self.address).await
        };
        timeout(CONNECT_PATIENCE, connect).await.map_err(|_| ConnectError::Silent)?
    }

    /// Until the connection ends.
    async fn converse(&self, mut connection: Connection) -> Closed {
        self.shared.replica.lock().connected();
        self.shared.status.send_replace(Status::Connected);
        if let Some(token) = self.token.clone() {
            let _ = queue(&mut connection, None, &ClientMessage::Auth { token: Some(token) });
        }
        let mut heartbeat = Heartbeat::new();
        loop {
            let wake_at = self.say(&mut connection);
            let wake_at = wake_at.unwrap_or_else(|| heartbeat.next()).min(heartbeat.next());
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
                () = sleep_until(wake_at) => {
                    if let Err(closed) = heartbeat.beat(&mut connection) {
                        return closed;
                    }
                }
                () = self.shared.closing.cancelled() => return connection.close().await,
            }
        }
    }

    /// Queues what the replica has to say; when to look again.
    fn say(&self, connection: &mut Connection) -> Option<Instant> {
        let mut replica = self.shared.replica.lock();
        let now = Instant::now().into_std();
        while connection.queued_bytes() < UNWRITTEN_BYTES_MAX {
            let Some(outgoing) = replica.next_message(now) else { break };
            if let Err(error) = queue(connection, outgoing.id.as_deref(), &outgoing.message) {
                tracing::error!(%error, "a message without a JSON form");
            }
        }
        replica.wake_at().map(Instant::from_std)
    }

    /// Gives the replica all that was read.
    fn hear(&self, connection: &mut Connection, heartbeat: &mut Heartbeat) -> Result<(), Closed> {
        let mut replica = self.shared.replica.lock();
        let now = Instant::now();
        while let Some(message) = connection.next_message()? {
            match understand(message) {
                Some(ServerMessage::Pong) => {
                    *heartbeat = Heartbeat { ping_at: now + PING_EVERY, pong_by: None };
                }
                Some(message) => replica.receive(message, now.into_std()),
                None => {}
            }
        }
        Ok(())
    }
}

impl Heartbeat {
    fn beat(&mut self, connection: &mut Connection) -> Result<(), Closed> {
        let now = Instant::now();
        match self.pong_by {
            Some(pong_by) if now >= pong_by => {
                return Err(Closed::without_code(&"no answer to a ping"));
            }
            None if now >= self.ping_at => {
                let _ = queue(connection, None, &ClientMessage::Ping {});
                self.pong_by = Some(now + PONG_PATIENCE);
            }
            _ => {}
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
