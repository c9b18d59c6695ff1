//! A client that costs as little as possible: frames are written as bytes, and of what arrives
//! only the type code and the time in the value are read.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use synckit_engine::json::write_string;
use synckit_engine::wire::MessageType;
use synckit_engine::wire::frame::HEADER_BYTES;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Error, MOVES_EVERY, PATIENCE};
use crate::time::now_millis;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Fields that a writer takes in turn.
const FIELDS: u64 = 64;

/// Makes a delta about 200 bytes long, as those of the published client are.
const PADDING: &str = "................................";

/// One connection, subscribed to one document.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    document: String,
    name: String,
    buffer: Vec<u8>,
    sent: u64,
    started: std::time::Instant,
}

/// What a writer saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) acks: Vec<Duration>,
    pub(super) deliveries: Vec<Duration>,
}

/// All clients of a run measure from one moment, so that one's time means something to another.
fn epoch() -> std::time::Instant {
    static EPOCH: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(std::time::Instant::now)
}

impl Client {
    /// A connection that follows the document.
    pub(super) async fn connect(
        address: SocketAddr,
        document: &str,
        number: u32,
    ) -> Result<Self, Error> {
        let mut client = Self::open(address, document, number).await?;
        tokio::time::timeout(PATIENCE, client.subscribe()).await.map_err(|_| Error::Silent)??;
        Ok(client)
    }

    /// A connection that does not follow the document yet.
    pub(super) async fn open(
        address: SocketAddr,
        document: &str,
        number: u32,
    ) -> Result<Self, Error> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut client = Self {
            stream,
            document: document.to_owned(),
            name: format!("bench-client-{number}"),
            buffer: Vec::new(),
            sent: 0,
            started: epoch(),
        };
        tokio::time::timeout(PATIENCE, client.upgrade()).await.map_err(|_| Error::Silent)??;
        Ok(client)
    }

    async fn upgrade(&mut self) -> Result<(), Error> {
        let end = loop {
            let end = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            match end {
                Some(end) => break end + 4,
                None => self.read().await?,
            }
        };
        if !self.buffer.starts_with(b"HTTP/1.1 101") {
            let answer = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            return Err(Error::Answer(answer));
        }
        self.buffer.drain(..end);
        Ok(())
    }

    async fn subscribe(&mut self) -> Result<(), Error> {
        self.ask_state().await?;
        loop {
            let mut synced = false;
            self.take_frames(|code, _| synced |= Some(code) == MessageType::SyncResponse.code())?;
            if synced {
                return Ok(());
            }
            self.read().await?;
        }
    }

    /// Writes a field and waits until it is acknowledged.
    pub(super) async fn put(&mut self, field: u64, value_bytes: usize) -> Result<(), Error> {
        self.sent += 1;
        let (document, name, count) = (&self.document, &self.name, self.sent);
        let payload = format!(
            "{{\"documentId\":\"{document}\",\"field\":\"f{field}\",\"value\":\"{}\",\
             \"clock\":{{\"{name}\":{count}}},\"clientId\":\"{name}\",\"messageId\":\"m{count}\"}}",
            "x".repeat(value_bytes),
        );
        let mut frame = Vec::new();
        write_frame(&mut frame, MessageType::Delta, payload.as_bytes());
        self.stream.write_all(&frame).await?;
        let mut is_acknowledged = false;
        while !is_acknowledged {
            self.read().await?;
            self.take_frames(|code, _| is_acknowledged |= Some(code) == MessageType::Ack.code())?;
        }
        Ok(())
    }

    /// Follows the document and waits for its state and each of so many fields; how long it took.
    pub(super) async fn join(mut self, fields: u64) -> Result<Duration, Error> {
        let asked = Instant::now();
        self.ask_state().await?;
        let mut missing = fields + 1;
        while missing > 0 {
            self.read().await?;
            self.take_frames(|code, _| {
                let codes = [MessageType::SyncResponse.code(), MessageType::Delta.code()];
                missing = missing.saturating_sub(u64::from(codes.contains(&Some(code))));
            })?;
        }
        Ok(asked.elapsed())
    }

    async fn ask_state(&mut self) -> Result<(), Error> {
        let payload = format!("{{\"documentId\":\"{}\"}}", self.document);
        let mut frame = Vec::new();
        write_frame(&mut frame, MessageType::Subscribe, payload.as_bytes());
        self.stream.write_all(&frame).await?;
        Ok(())
    }

    /// Keeps `window` edits unacknowledged until a moment, then waits for the last answers.
    pub(super) async fn write_for(mut self, window: u32, end: Instant) -> Result<Seen, Error> {
        let mut seen = Seen::default();
        let mut unacknowledged = VecDeque::new();
        let mut out = Vec::new();
        loop {
            out.clear();
            if Instant::now() < end {
                while unacknowledged.len() < window as usize {
                    self.write_delta(&mut out);
                    unacknowledged.push_back(std::time::Instant::now());
                }
                self.stream.write_all(&out).await?;
            } else if unacknowledged.is_empty() {
                return Ok(seen);
            }
            tokio::time::timeout(PATIENCE, self.read()).await.map_err(|_| Error::Silent)??;
            let mut refused = None;
            let started = self.started;
            self.take_frames(|code, payload| match MessageType::from_code(code) {
                Some(MessageType::Ack) => {
                    if let Some(sent) = unacknowledged.pop_front() {
                        seen.acks.push(sent.elapsed());
                    }
                }
                Some(MessageType::Delta) => seen.deliveries.extend(age(started, payload)),
                Some(MessageType::Error) => {
                    refused = Some(String::from_utf8_lossy(payload).into_owned());
                }
                _ => {}
            })?;
            if let Some(error) = refused {
                return Err(Error::Answer(error));
            }
        }
    }

    /// Sends the state of a text; gives how long the acknowledgement took.
    pub(super) async fn send_text(&mut self, state: &str) -> Result<Duration, Error> {
        self.sent += 1;
        let (document, name, count) = (&self.document, &self.name, self.sent);
        let mut payload = format!(
            "{{\"documentId\":\"{document}\",\"messageId\":\"t{count}\",\"deltas\":[{{\
             \"type\":\"text-state\",\"clientId\":\"{name}\",\"timestamp\":{},\
             \"clock\":{{\"{name}\":{count}}},\"state\":",
            now_millis()
        )
        .into_bytes();
        write_string(&mut payload, state);
        payload.extend_from_slice(b"}]}");
        let mut frame = Vec::new();
        write_frame(&mut frame, MessageType::DeltaBatch, &payload);
        let sent = std::time::Instant::now();
        let mut written = 0;
        // What the server says meanwhile is read, or neither side would go on.
        let mut acked = None;
        while acked.is_none() {
            let (mut from_server, mut to_server) = self.stream.split();
            tokio::select! {
                count = to_server.write(&frame[written..]), if written < frame.len() => {
                    written += count?;
                    continue;
                }
                read = from_server.read_buf(&mut self.buffer) => {
                    if read? == 0 {
                        return Err(Error::Answer("the server closed the connection".to_owned()));
                    }
                }
            }
            let mut refused = None;
            self.take_frames(|code, payload| match MessageType::from_code(code) {
                Some(MessageType::Ack) => acked = Some(sent.elapsed()),
                Some(MessageType::Error) => {
                    refused = Some(String::from_utf8_lossy(payload).into_owned());
                }
                _ => {}
            })?;
            if let Some(error) = refused {
                return Err(Error::Answer(error));
            }
        }
        Ok(acked.unwrap_or_default())
    }

    /// Says where its cursor is once a second, first after `pause`, until `end`; gives how long
    /// the others' moves were on their way that came after the first second.
    pub(super) async fn move_until(
        mut self,
        pause: Duration,
        end: Instant,
    ) -> Result<Vec<Duration>, Error> {
        let start = Instant::now();
        let mut beat = interval_at(start + pause, MOVES_EVERY);
        let (mut seen, mut out) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    out.clear();
                    self.write_presence(&mut out);
                    self.stream.write_all(&out).await?;
                }
                read = self.read() => read?,
                () = sleep_until(end) => return Ok(seen),
            }
            let started = self.started;
            let is_settled = start.elapsed() > MOVES_EVERY;
            self.take_frames(|code, payload| {
                if is_settled && Some(code) == MessageType::AwarenessUpdate.code() {
                    seen.extend(age(started, payload));
                }
            })?;
        }
    }

    fn write_presence(&mut self, out: &mut Vec<u8>) {
        self.sent += 1;
        let (document, name, clock) = (&self.document, &self.name, self.sent);
        let payload = format!(
            "{{\"documentId\":\"{document}\",\"clientId\":\"{name}\",\
             \"state\":{{\"value\":[{},\"{PADDING}\"]}},\"clock\":{clock}}}",
            self.started.elapsed().as_micros(),
        );
        write_frame(out, MessageType::AwarenessUpdate, payload.as_bytes());
    }

    /// Reads deliveries until it is told to stop.
    pub(super) async fn read_until(
        mut self,
        stop: CancellationToken,
    ) -> Result<Vec<Duration>, Error> {
        let mut deliveries = Vec::new();
        loop {
            tokio::select! {
                read = self.read() => read?,
                () = stop.cancelled() => return Ok(deliveries),
            }
            let started = self.started;
            self.take_frames(|code, payload| {
                if Some(code) == MessageType::Delta.code() {
                    deliveries.extend(age(started, payload));
                }
            })?;
        }
    }

    fn write_delta(&mut self, out: &mut Vec<u8>) {
        self.sent += 1;
        let (document, name, count) = (&self.document, &self.name, self.sent);
        let payload = format!(
            "{{\"type\":\"set\",\"documentId\":\"{document}\",\"field\":\"f{}\",\
             \"value\":[{},\"{PADDING}\"],\"clock\":{{\"{name}\":{count}}},\"clientId\":\"{name}\",\
             \"timestamp\":{},\"messageId\":\"m{count}\"}}",
            count % FIELDS,
            self.started.elapsed().as_micros(),
            now_millis(),
        );
        write_frame(out, MessageType::Delta, payload.as_bytes());
    }

    async fn read(&mut self) -> Result<(), Error> {
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(Error::Answer("the server closed the connection".to_owned())),
            _ => Ok(()),
        }
    }

    /// Passes on type code and payload of every whole frame.
    fn take_frames(&mut self, mut take: impl FnMut(u8, &[u8])) -> Result<(), Error> {
        let mut rest = self.buffer.as_slice();
        while let [first, second, after @ ..] = rest {
            let (length, body) = match (second & 0x7F, after) {
                (126, [a, b, body @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), body),
                (127, [a, b, c, d, e, f, g, h, body @ ..]) => {
                    let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                    (usize::try_from(length).unwrap_or(usize::MAX), body)
                }
                (126 | 127, _) => break,
                (short, body) => (usize::from(short), body),
            };
            if body.len() < length {
                break;
            }
            let (frame, behind) = body.split_at(length);
            rest = behind;
            match first & 0x0F {
                2 if frame.len() >= HEADER_BYTES => take(frame[0], &frame[HEADER_BYTES..]),
                8 => return Err(Error::Answer("the server closed the connection".to_owned())),
                _ => {}
            }
        }
        let used = self.buffer.len() - rest.len();
        self.buffer.drain(..used);
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

/// A masked frame, as clients must send it; a mask of zeros leaves the bytes as they are.
fn write_frame(out: &mut Vec<u8>, message_type: MessageType, payload: &[u8]) {
    let length = HEADER_BYTES + payload.len();
    out.push(0x82);
    match u16::try_from(length) {
        Ok(short @ 0..=125) => out.push(0x80 | short.to_be_bytes()[1]),
        Ok(long) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&long.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.push(message_type.code().unwrap_or_default());
    out.extend_from_slice(&now_millis().to_be_bytes());
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(payload);
}
