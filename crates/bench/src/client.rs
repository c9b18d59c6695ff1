//! A client that costs as little as possible: frames are written as bytes, and of what arrives
//! only the type code and the time in the value are read.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use synckit_client::connection::{Connection, Message};
use synckit_client::framing::{BinaryFrame, MessageType};
use synckit_client::handshake::Address;
use synckit_client::now_millis;
use tokio::net::TcpStream;
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Error, PATIENCE};

/// How often a client of the scenario of awareness moves.
pub(crate) const MOVES_EVERY: Duration = Duration::from_secs(1);

/// Fields that a writer takes in turn.
const FIELDS: u64 = 64;

/// Makes a delta about 200 bytes long, as those of the published client are.
const PADDING: &str = "................................";

/// One connection, subscribed to one document.
#[derive(Debug)]
pub(crate) struct Client {
    connection: Connection,
    document: String,
    name: String,
    sent: u64,
    started: std::time::Instant,
}

/// What a writer saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) acks: Vec<Duration>,
    pub(crate) deliveries: Vec<Duration>,
}

/// All clients of a run measure from one moment, so that one's time means something to another.
fn epoch() -> std::time::Instant {
    static EPOCH: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(std::time::Instant::now)
}

impl Client {
    /// A connection that follows the document.
    pub(crate) async fn connect(
        address: SocketAddr,
        document: &str,
        number: u32,
    ) -> Result<Self, Error> {
        let mut client = Self::open(address, document, number).await?;
        timeout(PATIENCE, client.subscribe()).await.map_err(|_| Error::Silent)??;
        Ok(client)
    }

    /// A connection that does not follow the document yet.
    pub(crate) async fn open(
        address: SocketAddr,
        document: &str,
        number: u32,
    ) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        let address = Address::from(address);
        let connection = Connection::over(stream, &address);
        Ok(Self {
            connection: timeout(PATIENCE, connection).await.map_err(|_| Error::Silent)??,
            document: document.to_owned(),
            name: format!("bench-client-{number}"),
            sent: 0,
            started: epoch(),
        })
    }

    async fn subscribe(&mut self) -> Result<(), Error> {
        self.ask_state().await;
        let mut is_synchronised = false;
        while !is_synchronised {
            self.connection.read().await?;
            self.take_frames(|frame| {
                is_synchronised |= frame.code == MessageType::SyncResponse.code();
            })?;
        }
        Ok(())
    }

    /// Writes a field and waits until it is acknowledged.
    pub(crate) async fn put(&mut self, field: u64, value_bytes: usize) -> Result<(), Error> {
        self.sent += 1;
        let value = "x".repeat(value_bytes);
        let Self { connection, document, name, sent: count, .. } = self;
        connection.queue_binary(MessageType::Delta.code(), now_millis(), |payload| {
            // Writing to a Vec can't fail, here and below.
            let _ = write!(
                payload,
                "{{\"documentId\":\"{document}\",\"field\":\"f{field}\",\"value\":\"{value}\",\
                 \"clock\":{{\"{name}\":{count}}},\"clientId\":\"{name}\",\"messageId\":\"m{count}\"}}"
            );
        });
        let mut is_acknowledged = false;
        while !is_acknowledged {
            self.connection.read().await?;
            self.take_frames(|frame| is_acknowledged |= frame.code == MessageType::Ack.code())?;
        }
        Ok(())
    }

    /// Follows the document and waits for its state and each of so many fields; how long it took.
    pub(crate) async fn join(mut self, fields: u64) -> Result<Duration, Error> {
        let asked = Instant::now();
        self.ask_state().await;
        let mut missing = fields + 1;
        while missing > 0 {
            self.connection.read().await?;
            self.take_frames(|frame| {
                let codes = [MessageType::SyncResponse.code(), MessageType::Delta.code()];
                missing = missing.saturating_sub(u64::from(codes.contains(&frame.code)));
            })?;
        }
        Ok(asked.elapsed())
    }

    async fn ask_state(&mut self) {
        let Self { connection, document, .. } = self;
        connection.queue_binary(MessageType::Subscribe.code(), now_millis(), |payload| {
            let _ = write!(payload, "{{\"documentId\":\"{document}\"}}");
        });
        connection.flush().await;
    }

    /// Keeps `window` edits unacknowledged until a moment, then waits for the last answers.
    pub(crate) async fn write_for(mut self, window: u32, end: Instant) -> Result<Seen, Error> {
        let mut seen = Seen::default();
        let mut unacknowledged = VecDeque::new();
        loop {
            if Instant::now() < end {
                while unacknowledged.len() < window as usize {
                    self.queue_delta();
                    unacknowledged.push_back(std::time::Instant::now());
                }
                self.connection.flush().await;
            } else if unacknowledged.is_empty() {
                return Ok(seen);
            }
            timeout(PATIENCE, self.connection.read()).await.map_err(|_| Error::Silent)??;
            let started = self.started;
            self.take_frames(|frame| {
                if frame.code == MessageType::Ack.code() {
                    if let Some(sent) = unacknowledged.pop_front() {
                        seen.acks.push(sent.elapsed());
                    }
                } else if frame.code == MessageType::Delta.code() {
                    seen.deliveries.extend(age(started, frame.payload));
                }
            })?;
        }
    }

    /// Sends the state of a text; gives how long the acknowledgement took.
    pub(crate) async fn send_text(&mut self, state: &str) -> Result<Duration, Error> {
        self.sent += 1;
        let Self { connection, document, name, sent: count, .. } = self;
        let state =
            serde_json::to_string(state).map_err(|error| Error::Answer(error.to_string()))?;
        connection.queue_binary(MessageType::DeltaBatch.code(), now_millis(), |payload| {
            let _ = write!(
                payload,
                "{{\"documentId\":\"{document}\",\"messageId\":\"t{count}\",\"deltas\":[{{\
                 \"type\":\"text-state\",\"clientId\":\"{name}\",\"timestamp\":{},\
                 \"clock\":{{\"{name}\":{count}}},\"state\":{state}}}]}}",
                now_millis()
            );
        });
        let sent = std::time::Instant::now();
        let mut acknowledged = None;
        loop {
            self.connection.read().await?;
            self.take_frames(|frame| {
                if frame.code == MessageType::Ack.code() {
                    acknowledged = Some(sent.elapsed());
                }
            })?;
            if let Some(elapsed) = acknowledged {
                return Ok(elapsed);
            }
        }
    }

    /// Says where its cursor is once a second, first after `pause`, until `end`; gives how long
    /// the others' moves were on their way that came after the first second.
    pub(crate) async fn move_until(
        mut self,
        pause: Duration,
        end: Instant,
    ) -> Result<Vec<Duration>, Error> {
        let start = Instant::now();
        let mut beat = interval_at(start + pause, MOVES_EVERY);
        let mut seen = Vec::new();
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    self.queue_awareness();
                    self.connection.flush().await;
                }
                read = self.connection.read() => read?,
                () = sleep_until(end) => return Ok(seen),
            }
            let started = self.started;
            let is_settled = start.elapsed() > MOVES_EVERY;
            self.take_frames(|frame| {
                if is_settled && frame.code == MessageType::AwarenessUpdate.code() {
                    seen.extend(age(started, frame.payload));
                }
            })?;
        }
    }

    fn queue_awareness(&mut self) {
        self.sent += 1;
        let Self { connection, document, name, sent: clock, started } = self;
        connection.queue_binary(MessageType::AwarenessUpdate.code(), now_millis(), |payload| {
            let _ = write!(
                payload,
                "{{\"documentId\":\"{document}\",\"clientId\":\"{name}\",\
                 \"state\":{{\"value\":[{},\"{PADDING}\"]}},\"clock\":{clock}}}",
                started.elapsed().as_micros(),
            );
        });
    }

    /// Reads deliveries until it is told to stop.
    pub(crate) async fn read_until(
        mut self,
        stop: CancellationToken,
    ) -> Result<Vec<Duration>, Error> {
        let mut deliveries = Vec::new();
        loop {
            tokio::select! {
                read = self.connection.read() => read?,
                () = stop.cancelled() => return Ok(deliveries),
            }
            let started = self.started;
            self.take_frames(|frame| {
                if frame.code == MessageType::Delta.code() {
                    deliveries.extend(age(started, frame.payload));
                }
            })?;
        }
    }

    fn queue_delta(&mut self) {
        self.sent += 1;
        let Self { connection, document, name, sent: count, started } = self;
        let now = now_millis();
        connection.queue_binary(MessageType::Delta.code(), now, |payload| {
            let _ = write!(
                payload,
                "{{\"type\":\"set\",\"documentId\":\"{document}\",\"field\":\"f{}\",\
                 \"value\":[{},\"{PADDING}\"],\"clock\":{{\"{name}\":{count}}},\
                 \"clientId\":\"{name}\",\"timestamp\":{now},\"messageId\":\"m{count}\"}}",
                *count % FIELDS,
                started.elapsed().as_micros(),
            );
        });
    }

    /// Passes on every whole frame; a refusal ends the benchmark.
    fn take_frames(&mut self, mut take: impl FnMut(BinaryFrame<'_>)) -> Result<(), Error> {
        while let Some(message) = self.connection.next_message()? {
            let Message::Binary(bytes) = message else { continue };
            let frame =
                BinaryFrame::parse(bytes).map_err(|error| Error::Answer(error.to_string()))?;
            if frame.code == MessageType::Error.code() {
                return Err(Error::Answer(String::from_utf8_lossy(frame.payload).into_owned()));
            }
            take(frame);
        }
        Ok(())
    }
}

/// How long ago a delivered value was written: it starts with the microsecond.
fn age(started: std::time::Instant, payload: &[u8]) -> Option<Duration> {
    const BEFORE: &[u8] = b"\"value\":[";
    let at = payload.windows(BEFORE.len()).position(|bytes| bytes == BEFORE)? + BEFORE.len();
    let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let written = digits.fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    started.elapsed().checked_sub(Duration::from_micros(written))
}
