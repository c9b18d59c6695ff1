//! Reads frames, asks the session what they mean, and gives commands to rooms.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use synckit_engine::ids::DocumentId;
use synckit_engine::room::Command;
use synckit_engine::session::{Effect, Identity, Session};
use synckit_engine::wire::{CloseCode, ErrorCode, ErrorReply, ServerMessage};
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::frame_reader::{Broken, FrameReader, Received};
use super::settings::Settings;
use crate::heavy;
use crate::nodes::AWARENESS_GRACE;
use crate::outbox::{Outbox, ping_frame};
use crate::rooms::{RoomHandle, RoomMessage, Rooms};
use crate::supervision::panicked;
use crate::time::{millis, moment, now};

/// Bytes of one read. A thread has one such buffer, however many connections it serves.
const READ_BYTES: usize = 64 << 10;

/// A heartbeat that comes so late shows that this process itself stood still: it was paused, or had
/// too much to do. Nobody was listened to, so nobody was silent.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// How long a client whose time is over is still listened to: what it said may have arrived, and not
/// have been read yet.
const LAST_LOOK: Duration = Duration::from_millis(200);

/// How long the last frame to a silent client may take.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// How many rooms a command is offered to: the one that is known, and one that is opened anew
/// because that one has failed.
const FORWARD_TRIES: usize = 2;

/// The reading side of one connection.
#[derive(Debug)]
pub(super) struct Reader {
    session: Session,
    outbox: Arc<Outbox>,
    rooms: Arc<Rooms>,
    settings: Settings,
    frames: FrameReader,
    joined: HashMap<DocumentId, RoomHandle>,
    /// Cancelled when the connection is of no use any more, by whichever task finds out first.
    gone: CancellationToken,
}

/// Whether to go on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    GoOn,
    Stop,
}

/// Why nothing more is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client is gone, or is told to go.
    Gone,
    /// The server takes no more in.
    Intake,
    /// A panic.
    Failed,
}

impl Reader {
    pub(super) fn new(
        session: Session,
        outbox: Arc<Outbox>,
        rooms: Arc<Rooms>,
        settings: Settings,
        gone: CancellationToken,
    ) -> Self {
        let frames = FrameReader::new(settings.frame_bytes_max);
        Self { session, outbox, rooms, settings, frames, joined: HashMap::new(), gone }
    }

    /// Runs until the client is gone, is told to go, or the server takes no more in.
    pub(super) async fn run(
        mut self: Box<Self>,
        socket: OwnedReadHalf,
        early: Bytes,
        intake: CancellationToken,
    ) {
        let mut end = End::Failed;
        panicked(async { end = self.read_until(&socket, early, &intake).await }).await;
        match end {
            // It stays in its rooms: the acknowledgements of what was taken in are still to come.
            End::Intake => return,
            End::Gone => {}
            End::Failed => {
                self.outbox.close(CloseCode::InternalError, "Connection failed, please reconnect");
            }
        }
        let until = moment().after(millis(AWARENESS_GRACE));
        for (_, room) in self.joined.drain() {
            let (id, outbox) = (self.session.id(), Arc::clone(&self.outbox));
            let _ = room.send(RoomMessage::new(id, outbox, Command::Vanish { until })).await;
        }
    }

    async fn read_until(
        &mut self,
        socket: &OwnedReadHalf,
        early: Bytes,
        intake: &CancellationToken,
    ) -> End {
        let after = self.take(&early).await;
        // However little of it is used, it is the whole buffer that the request was read into.
        drop(early);
        if after == After::Stop {
            return End::Gone;
        }
        tokio::select! {
            () = self.read_all(socket) => End::Gone,
            // What the client sends from here on it must send again elsewhere.
            () = intake.cancelled() => End::Intake,
        }
    }

    async fn read_all(&mut self, socket: &OwnedReadHalf) {
        let Settings { heartbeat_interval, heartbeat_timeout, .. } = self.settings;
        let mut last_heard = Instant::now();
        let mut next_ping = last_heard + heartbeat_interval;
        let mut is_last_look = false;
        let heartbeat = sleep_until(next_ping);
        tokio::pin!(heartbeat);
        let gone = self.gone.clone();
        loop {
            let readable = tokio::select! {
                // What has arrived counts before what has not.
                biased;
                () = gone.cancelled() => return,
                () = self.outbox.caught_up() => {
                    self.catch_up().await;
                    continue;
                }
                readable = socket.readable() => readable,
                () = &mut heartbeat => {
                    let now = Instant::now();
                    if now >= heartbeat.deadline() + STOOD_STILL {
                        (last_heard, next_ping, is_last_look) = (now, now, false);
                    }
                    if now >= last_heard + heartbeat_timeout {
                        if is_last_look {
                            return self.time_out().await;
                        }
                        is_last_look = true;
                        heartbeat.as_mut().reset(now + LAST_LOOK);
                        continue;
                    }
                    if now >= next_ping {
                        self.outbox.push(ping_frame());
                        next_ping = now + heartbeat_interval;
                    }
                    heartbeat.as_mut().reset(next_ping.min(last_heard + heartbeat_timeout));
                    continue;
                }
            };
            if readable.is_err() {
                return self.give_up();
            }
            let mut effects = Vec::new();
            match self.read_once(socket, &mut effects) {
                Ok(0) => return self.give_up(),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => return self.give_up(),
            }
            if self.perform(effects).await == After::Stop {
                return;
            }
            // Only now: while a room has no place for it, the client is not listened to.
            last_heard = Instant::now();
            is_last_look = false;
        }
    }

    /// Asks every room for what it kept from this client while it lagged.
    async fn catch_up(&self) {
        for room in self.joined.values() {
            let (id, outbox) = (self.session.id(), Arc::clone(&self.outbox));
            tokio::select! {
                // A room that failed has closed the connection.
                _ = room.send(RoomMessage::new(id, outbox, Command::CatchUp)) => {}
                () = self.gone.cancelled() => return,
            }
        }
    }

    fn read_once(
        &mut self,
        socket: &OwnedReadHalf,
        effects: &mut Vec<Effect>,
    ) -> io::Result<usize> {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
        }
        BUFFER.with_borrow_mut(|buffer| {
            let count = socket.try_read(buffer)?;
            self.understand(&buffer[..count], effects);
            Ok(count)
        })
    }

    async fn take(&mut self, bytes: &[u8]) -> After {
        if bytes.is_empty() {
            return After::GoOn;
        }
        let mut effects = Vec::new();
        self.understand(bytes, &mut effects);
        self.perform(effects).await
    }

    /// What the bytes say, as effects in order.
    fn understand(&mut self, bytes: &[u8], effects: &mut Vec<Effect>) {
        let Self { session, frames, outbox, .. } = self;
        let mut closed = false;
        let read = frames.read(bytes, |received| match received {
            Received::Message(kind, message) => {
                heavy::work(message.len(), || {
                    session.receive(now(), kind, message, effects);
                });
                outbox.set_framing(session.framing());
            }
            Received::Closed => closed = true,
        });
        let output = frames.take_output();
        if closed {
            outbox.close_with(output);
        } else if let Some(output) = output {
            outbox.push(output);
        }
        match read {
            Ok(()) => {}
            Err(Broken::TooBig) => {
                let reason = "Message too large";
                effects.push(Effect::Close { code: CloseCode::MessageTooBig, reason });
            }
            Err(Broken::Protocol) => {
                let reason = "Not a WebSocket frame";
                effects.push(Effect::Close { code: CloseCode::ProtocolError, reason });
            }
        }
    }

    async fn perform(&mut self, effects: Vec<Effect>) -> After {
        let mut more = Vec::new();
        for effect in effects {
            match effect {
                Effect::Reply(message) => self.outbox.send(&message),
                Effect::Forward { document, command } => self.forward(document, command).await,
                Effect::Authenticate { .. } => {
                    // With authentication switched off everybody is the same user.
                    self.session.authenticated(now(), Some(Identity::anonymous()), &mut more);
                    for effect in more.drain(..) {
                        if let Effect::Reply(message) = effect {
                            self.outbox.send(&message);
                        }
                    }
                }
                Effect::Close { code, reason } => {
                    self.outbox.close(code, reason);
                    return After::Stop;
                }
            }
        }
        After::GoOn
    }

    /// Gives a command to a room and waits while the room is full. The wait ends with the
    /// connection.
    async fn forward(&mut self, document: DocumentId, command: Command) {
        let leaves = command == Command::Leave;
        let mut message = RoomMessage::new(self.session.id(), Arc::clone(&self.outbox), command);
        for _ in 0..FORWARD_TRIES {
            let room = match self.joined.get(&document) {
                Some(room) => room.clone(),
                None if leaves => return,
                None => {
                    let room = self.rooms.room(&document);
                    self.joined.insert(document.clone(), room.clone());
                    room
                }
            };
            let sent = tokio::select! {
                sent = room.send(message) => sent,
                () = self.gone.cancelled() => return,
            };
            if leaves || sent.is_err() {
                self.joined.remove(&document);
            }
            match sent {
                Ok(()) => return,
                // The room failed since it was used last.
                Err(unsent) => message = unsent,
            }
        }
        let error = ErrorReply::new(ErrorCode::StorageUnavailable)
            .on(&document)
            .answering(message.message_id());
        self.outbox.send(&ServerMessage::Error(error));
    }

    /// The client was silent too long. It may still be there and read why.
    async fn time_out(&self) {
        self.outbox.close(CloseCode::TryAgainLater, "Heartbeat timeout");
        if timeout(GOODBYE_WITHIN, self.gone.cancelled()).await.is_err() {
            self.give_up();
        }
    }

    /// The client is gone without a goodbye.
    fn give_up(&self) {
        self.outbox.abandon();
        self.gone.cancel();
    }
}
