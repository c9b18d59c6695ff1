//! The WebSocket frames of a client, read from bytes by tungstenite's state machine over memory.

mod boundary;

use std::io::{self, Read, Write};

use bytes::Bytes;
use synckit_engine::wire::FrameKind;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message, error::CapacityError};

use boundary::Boundary;

/// What a connection holds while a message arrives; longer messages take more.
const READ_BUFFER_BYTES: usize = 2_048;

/// What a client sent.
#[derive(Debug)]
pub(crate) enum Received<'a> {
    /// One whole message.
    Message(FrameKind, &'a [u8]),
    /// The goodbye; its answer is in the output.
    Closed,
}

/// Why a connection can't be read any further.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A message over the limit.
    TooBig,
    /// Not WebSocket.
    Protocol,
}

/// Reads the frames of one client.
#[derive(Debug)]
pub(crate) struct FrameReader {
    message_bytes_max: usize,
    /// Only while a message is there in part, or after the goodbye: between messages it would hold
    /// nothing but an empty buffer.
    context: Option<Box<WebSocketContext>>,
    boundary: Boundary,
    /// Pongs and the answer to a close, to be sent.
    output: Vec<u8>,
}

impl FrameReader {
    pub(crate) fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, context: None, boundary: Boundary::default(), output: Vec::new() }
    }

    /// Takes bytes from the socket and passes on every message that is complete.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(Received<'_>),
    ) -> Result<(), Broken> {
        let mut context =
            self.context.take().unwrap_or_else(|| new_context(self.message_bytes_max));
        self.boundary.pass(bytes);
        let mut is_closed = false;
        let read = self.read_all(&mut context, bytes, |received| {
            is_closed |= matches!(received, Received::Closed);
            take(received);
        });
        if is_closed || read.is_err() || !self.boundary.is_between_messages() {
            self.context = Some(context);
        }
        read
    }

    fn read_all(
        &mut self,
        context: &mut WebSocketContext,
        bytes: &[u8],
        mut take: impl FnMut(Received<'_>),
    ) -> Result<(), Broken> {
        let mut pipe = Pipe { input: bytes, output: &mut self.output };
        loop {
            match context.read(&mut pipe) {
                Ok(Message::Text(text)) => {
                    take(Received::Message(FrameKind::Text, text.as_bytes()));
                }
                Ok(Message::Binary(bytes)) => {
                    take(Received::Message(FrameKind::Binary, &bytes));
                }
                Ok(Message::Close(_)) => {}
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Pongs are written by the next call of any kind.
                    let _ = context.flush(&mut pipe);
                    return Ok(());
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    take(Received::Closed);
                    return Ok(());
                }
                Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => {
                    return Err(Broken::TooBig);
                }
                Err(_) => return Err(Broken::Protocol),
            }
        }
    }

    /// What must be sent because of what was read.
    pub(crate) fn take_output(&mut self) -> Option<Bytes> {
        (!self.output.is_empty()).then(|| std::mem::take(&mut self.output).into())
    }
}

fn new_context(message_bytes_max: usize) -> Box<WebSocketContext> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    Box::new(WebSocketContext::new(Role::Server, Some(config)))
}

/// Memory as a stream that has no more than it has.
struct Pipe<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
}

impl Read for Pipe<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINAL: u8 = 0x80;
    const TEXT: u8 = 0x1;
    const BINARY: u8 = 0x2;
    const CLOSE: u8 = 0x8;
    const PING: u8 = 0x9;
    const PONG: u8 = 0xA;

    fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![FINAL | opcode];
        match u16::try_from(payload.len()).unwrap() {
            short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap()),
            long => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&long.to_be_bytes());
            }
        }
        // A mask of zeros leaves the payload as it is.
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn messages_are_found_wherever_the_bytes_are_cut() {
        let mut sent = client_frame(TEXT, "é".repeat(300).as_bytes());
        sent.extend(client_frame(BINARY, b"b"));
        for cut in 0..sent.len() {
            let mut reader = FrameReader::new(10_000);
            let mut lengths = Vec::new();
            for part in [&sent[..cut], &sent[cut..]] {
                let note = |received: Received<'_>| match received {
                    Received::Message(kind, bytes) => lengths.push((kind, bytes.len())),
                    Received::Closed => panic!("closed"),
                };
                reader.read(part, note).unwrap();
            }
            assert_eq!(lengths, [(FrameKind::Text, 600), (FrameKind::Binary, 1)], "cut {cut}");
            assert!(reader.context.is_none(), "cut {cut}: nothing is kept between messages");
        }
    }

    #[test]
    fn a_ping_is_answered_and_a_close_too() {
        let mut reader = FrameReader::new(100);
        reader.read(&client_frame(PING, b"x"), |_| panic!("no message")).unwrap();
        assert_eq!(reader.take_output().unwrap(), [FINAL | PONG, 1, b'x'].as_slice());
        let mut closed = false;
        reader
            .read(&client_frame(CLOSE, &1000_u16.to_be_bytes()), |received| {
                closed = matches!(received, Received::Closed);
            })
            .unwrap();
        assert!(closed);
        assert_eq!(reader.take_output().unwrap(), [FINAL | CLOSE, 2, 3, 232].as_slice());
        let late = client_frame(TEXT, b"late");
        reader
            .read(&late, |received| assert!(matches!(received, Received::Closed)))
            .expect("what comes after the goodbye is not read");
    }

    #[test]
    fn what_is_too_big_or_no_frame_is_told_apart() {
        let mut reader = FrameReader::new(100);
        assert_eq!(reader.read(&client_frame(BINARY, &[0; 101]), |_| ()), Err(Broken::TooBig));
        let mut reader = FrameReader::new(100);
        assert_eq!(reader.read(b"GET / HTTP/1.1\r\n\r\n", |_| ()), Err(Broken::Protocol));
    }
}
