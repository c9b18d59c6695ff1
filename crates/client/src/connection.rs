//! One WebSocket. It knows the header of a frame and no JSON, and copies nothing that it reads.
//!
//! A connection belongs to one task and still sends and receives at the same time: what is queued
//! is written by [`Connection::flush`], and by every read while it waits. So nobody needs two
//! halves, and a server that writes while it is written to blocks neither side.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::framing::write_header;
use crate::handshake::{Address, CONNECT_PATIENCE, ConnectError, upgrade};
use crate::websocket::{
    Closed, Found, Frame, FrameBuffer, Opcode, Violation, write_frame,
    write_header as write_websocket_header,
};

/// How long a connection that is closed in order waits for the other side's goodbye.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(2);

/// The code of a connection that is not needed any more.
const NORMAL: u16 = 1000;

/// The code for a server that sends what it may not.
const PROTOCOL_ERROR: u16 = 1002;

/// One message as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// In the JSON framing.
    Text(&'a str),
    /// In the binary framing; see [`crate::framing::BinaryFrame`].
    Binary(&'a [u8]),
}

/// An open WebSocket.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    incoming: FrameBuffer,
    /// Frames to be written. Bounded by what is queued, which is up to the owner, and one pong.
    out: Vec<u8>,
    /// How much of `out` was written.
    written: usize,
    /// A payload that is being made.
    payload: Vec<u8>,
    /// What the last ping said that is not answered yet; older ones need no answer.
    ping: Option<Vec<u8>>,
    /// Nothing more can be sent. What arrived before can still be read.
    is_deaf: bool,
    /// A close frame was queued; there is never a second.
    has_said_goodbye: bool,
    closed: Option<Closed>,
}

impl Connection {
    /// Connects to a URL such as `ws://127.0.0.1:8080/ws`.
    ///
    /// # Errors
    /// [`ConnectError`] when there is no WebSocket within [`CONNECT_PATIENCE`].
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::connect_to(&Address::from_url(url)?).await
    }

    /// Connects to an address.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_to(address: &Address) -> Result<Self, ConnectError> {
        let connect = async {
            let stream = TcpStream::connect(&address.host).await?;
            Self::over(stream, address).await
        };
        timeout(CONNECT_PATIENCE, connect).await.map_err(|_| ConnectError::Silent)?
    }

    /// Makes a TCP connection a WebSocket, in however long that takes.
    ///
    /// # Errors
    /// [`ConnectError`] when the server does not agree.
    pub async fn over(mut stream: TcpStream, address: &Address) -> Result<Self, ConnectError> {
        stream.set_nodelay(true)?;
        let incoming = upgrade(&mut stream, address).await?;
        Ok(Self {
            stream,
            incoming,
            out: Vec::new(),
            written: 0,
            payload: Vec::new(),
            ping: None,
            is_deaf: false,
            has_said_goodbye: false,
            closed: None,
        })
    }

    /// Queues a message in the binary framing, whose payload `write` appends to what it is given.
    pub fn queue_binary(&mut self, code: u8, time: u64, write: impl FnOnce(&mut Vec<u8>)) {
        const HEADER_BYTES: usize = crate::framing::HEADER_BYTES;
        self.payload.clear();
        write(&mut self.payload);
        write_websocket_header(&mut self.out, Opcode::Binary, HEADER_BYTES + self.payload.len());
        write_header(&mut self.out, code, time, self.payload.len());
        self.out.extend_from_slice(&self.payload);
    }

    /// Queues a text message.
    pub fn queue_text(&mut self, text: &str) {
        write_frame(&mut self.out, Opcode::Text, text.as_bytes());
    }

    /// Bytes that are queued and not written.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes what is queued. Cancel-safe: what was not written stays queued.
    ///
    /// A connection that has ended shows when it is read, since what arrived before is still there.
    pub async fn flush(&mut self) {
        while self.queued_bytes() > 0 {
            let written = self.stream.write(&self.out[self.written..]).await;
            self.note_written(&written);
        }
    }

    /// The next message. Cancel-safe. Writes what is queued while it waits.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn receive(&mut self) -> Result<Message<'_>, Closed> {
        loop {
            if let Some(found) = self.find()? {
                return self.message(&found);
            }
            self.read().await?;
        }
    }

    /// The next message of those that were read.
    ///
    /// # Errors
    /// When the connection has ended.
    pub fn next_message(&mut self) -> Result<Option<Message<'_>>, Closed> {
        match self.find()? {
            Some(found) => self.message(&found).map(Some),
            None => Ok(None),
        }
    }

    /// Waits for more to arrive, many messages at once. Cancel-safe. Writes what is queued while it
    /// waits.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn read(&mut self) -> Result<(), Closed> {
        if let Some(closed) = &self.closed {
            return Err(closed.clone());
        }
        let read = loop {
            self.queue_pong();
            let room = self.incoming.room();
            if self.out.is_empty() {
                break self.stream.read_buf(room).await;
            }
            let (mut from_server, mut to_server) = self.stream.split();
            let written = tokio::select! {
                read = from_server.read_buf(room) => break read,
                written = to_server.write(&self.out[self.written..]) => written,
            };
            self.note_written(&written);
        };
        match read {
            Ok(1..) => Ok(()),
            Ok(0) => Err(self.end(Closed::without_code(&"end of stream"))),
            Err(error) => Err(self.end(Closed::without_code(&error))),
        }
    }

    /// Ends the connection in order: writes what is queued, says goodbye and waits a moment for the
    /// answer. Messages that come meanwhile are lost.
    pub async fn close(mut self) -> Closed {
        self.has_said_goodbye = true;
        write_frame(&mut self.out, Opcode::Close, &NORMAL.to_be_bytes());
        let goodbye = async {
            loop {
                if let Err(closed) = self.receive().await {
                    return closed;
                }
            }
        };
        let late = || Closed::without_code(&"no answer to the goodbye");
        timeout(GOODBYE_PATIENCE, goodbye).await.unwrap_or_else(|_| late())
    }

    fn find(&mut self) -> Result<Option<Found>, Closed> {
        if let Some(closed) = &self.closed {
            return Err(closed.clone());
        }
        loop {
            let found = match self.incoming.find() {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(None),
                Err(violation) => return Err(self.refuse(violation)),
            };
            match found.opcode() {
                Opcode::Ping | Opcode::Close => {}
                Opcode::Pong => continue,
                Opcode::Text | Opcode::Binary | Opcode::Continuation => return Ok(Some(found)),
            }
            match self.incoming.get(&found) {
                Ok(Frame::Ping(payload)) => self.ping = Some(payload.to_vec()),
                Ok(Frame::Close(closed)) => return Err(self.say_goodbye(closed.code, closed)),
                Ok(_) => {}
                Err(violation) => return Err(self.refuse(violation)),
            }
        }
    }

    fn message(&mut self, found: &Found) -> Result<Message<'_>, Closed> {
        // Looked at twice, because a refusal changes what the first look would still borrow.
        if let Err(violation) = self.incoming.get(found) {
            return Err(self.refuse(violation));
        }
        match self.incoming.get(found) {
            Ok(Frame::Text(text)) => Ok(Message::Text(text)),
            Ok(Frame::Binary(bytes)) => Ok(Message::Binary(bytes)),
            _ => Err(Closed::without_code(&"a control frame is no message")),
        }
    }

    /// Answers the last ping as soon as all before it is written, so that answers cannot pile up.
    fn queue_pong(&mut self) {
        if self.out.is_empty()
            && let Some(payload) = self.ping.take()
        {
            write_frame(&mut self.out, Opcode::Pong, &payload);
        }
    }

    fn note_written(&mut self, written: &std::io::Result<usize>) {
        match written {
            Ok(count @ 1..) => self.written += *count,
            Ok(0) | Err(_) => self.is_deaf = true,
        }
        if self.is_deaf || self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
    }

    fn refuse(&mut self, violation: Violation) -> Closed {
        self.say_goodbye(Some(PROTOCOL_ERROR), Closed::without_code(&violation))
    }

    /// Ends the connection with a close frame, if there is room for it without waiting.
    fn say_goodbye(&mut self, code: Option<u16>, closed: Closed) -> Closed {
        if !self.has_said_goodbye {
            let payload = code.map(u16::to_be_bytes);
            let payload = payload.as_ref().map_or(&[][..], |code| &code[..]);
            write_frame(&mut self.out, Opcode::Close, payload);
            // The server closes the connection whether or not it hears this.
            let _ = self.stream.try_write(&self.out[self.written..]);
        }
        self.end(closed)
    }

    fn end(&mut self, closed: Closed) -> Closed {
        self.out.clear();
        self.written = 0;
        self.is_deaf = true;
        self.closed.insert(closed).clone()
    }
}
