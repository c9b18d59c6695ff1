//! Frames of RFC 6455 as a client writes and reads them, without IO.
//!
//! Payloads are lent out of the one buffer they arrived in, so a message costs no allocation.

use std::ops::Range;

/// Bytes that one read asks for: many messages at once.
const READ_BYTES: usize = 64 << 10;

/// The longest payload of a ping, pong or close.
pub const CONTROL_BYTES_MAX: usize = 125;

/// The longest message that is read, fragments together. A text takes up to 64 MiB and is escaped
/// once more on its way.
pub const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the RFC")]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("closed with {code:?}: {reason}")]
pub struct Closed {
    /// The code of the close frame; none: the connection ended without one, or with one that has no
    /// code.
    pub code: Option<u16>,
    /// The reason of the close frame, else what ended the connection.
    pub reason: String,
}

impl Closed {
    /// The end of a connection without a close frame.
    pub fn without_code(reason: &dyn std::fmt::Display) -> Self {
        Self { code: None, reason: reason.to_string() }
    }

    /// What a close frame says.
    fn from_payload(payload: &[u8]) -> Self {
        let (code, reason) = payload.split_at(payload.len().min(2));
        Self {
            code: code.try_into().ok().map(u16::from_be_bytes),
            reason: String::from_utf8_lossy(reason).into_owned(),
        }
    }
}

/// What is no frame that a server may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Violation {
    #[error("a frame with reserved bits or an unknown opcode")]
    Header,
    #[error("a masked frame of a server")]
    Masked,
    #[error("a control frame that is fragmented or too long")]
    Control,
    #[error("a continuation of nothing, or a message inside another")]
    Fragments,
    #[error("a text that is not UTF-8")]
    Text,
    #[error("a message over {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
}

/// One whole message, or a control frame.
#[derive(Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the RFC")]
pub enum Frame<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    Close(Closed),
}

/// Appends one whole masked frame.
///
/// The mask is zero, which leaves the payload as it is. Masks guard proxies against programs that a
/// browser loaded from a stranger; here the program is the one that its user runs.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    write_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends the header of a masked frame, for a payload that follows in pieces.
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize) {
    out.push(0x80 | opcode as u8);
    match u16::try_from(payload_bytes) {
        Ok(short @ 0..=125) => out.push(0x80 | short.to_be_bytes()[1]),
        Ok(medium) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
}

/// What arrived and was not taken yet.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// Everything before was taken.
    taken: usize,
    /// The pieces so far of a message that comes in several frames.
    fragments: Vec<u8>,
    fragments_of: Option<Opcode>,
}

/// Where a frame lies in its buffer; good until the buffer is asked for anything else.
#[derive(Debug)]
pub(crate) struct Found {
    opcode: Opcode,
    payload: Range<usize>,
    is_in_fragments: bool,
}

impl Found {
    pub(crate) fn opcode(&self) -> Opcode {
        self.opcode
    }
}

impl FrameBuffer {
    /// What arrived behind an HTTP answer.
    #[must_use]
    pub fn starting_with(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Where the next bytes go, at the end, with room for one read.
    pub fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..std::mem::take(&mut self.taken));
        self.bytes.reserve(READ_BYTES);
        &mut self.bytes
    }

    /// The next whole message or control frame, if it is there.
    ///
    /// # Errors
    /// When what arrived is no frame; nothing can be read after it.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Violation> {
        match self.find()? {
            Some(found) => self.get(&found).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn get(&self, found: &Found) -> Result<Frame<'_>, Violation> {
        let bytes = if found.is_in_fragments { &self.fragments } else { &self.bytes };
        let payload = bytes.get(found.payload.clone()).unwrap_or_default();
        Ok(match found.opcode {
            Opcode::Text => Frame::Text(std::str::from_utf8(payload).map_err(|_| Violation::Text)?),
            Opcode::Binary | Opcode::Continuation => Frame::Binary(payload),
            Opcode::Ping => Frame::Ping(payload),
            Opcode::Pong => Frame::Pong,
            Opcode::Close => Frame::Close(Closed::from_payload(payload)),
        })
    }

    pub(crate) fn find(&mut self) -> Result<Option<Found>, Violation> {
        loop {
            let Some(header) = Header::parse(&self.bytes[self.taken..])? else { return Ok(None) };
            let start = self.taken + header.bytes;
            let payload = start..start + header.payload_bytes;
            if self.bytes.len() < payload.end {
                return Ok(None);
            }
            self.taken = payload.end;
            match (header.opcode, self.fragments_of) {
                (opcode, _) if opcode.is_control() => {
                    return Ok(Some(Found { opcode, payload, is_in_fragments: false }));
                }
                (Opcode::Continuation, Some(opcode)) => {
                    self.add_fragment(payload)?;
                    if header.is_last {
                        self.fragments_of = None;
                        let payload = 0..self.fragments.len();
                        return Ok(Some(Found { opcode, payload, is_in_fragments: true }));
                    }
                }
                (Opcode::Continuation, None) | (_, Some(_)) => return Err(Violation::Fragments),
                (opcode, None) if header.is_last => {
                    return Ok(Some(Found { opcode, payload, is_in_fragments: false }));
                }
                (opcode, None) => {
                    self.fragments.clear();
                    self.fragments_of = Some(opcode);
                    self.add_fragment(payload)?;
                }
            }
        }
    }

    fn add_fragment(&mut self, payload: Range<usize>) -> Result<(), Violation> {
        if self.fragments.len() + payload.len() > MESSAGE_BYTES_MAX {
            return Err(Violation::TooLong);
        }
        self.fragments.extend_from_slice(&self.bytes[payload]);
        Ok(())
    }
}

struct Header {
    is_last: bool,
    opcode: Opcode,
    /// Of the header itself.
    bytes: usize,
    payload_bytes: usize,
}

impl Header {
    /// None when more bytes are needed.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let opcode = Opcode::from_bits(first & 0x0F).filter(|_| first & 0x70 == 0);
        let opcode = opcode.ok_or(Violation::Header)?;
        let is_last = first & 0x80 != 0;
        let (header_bytes, payload_bytes) = match (second, rest) {
            (0x80.., _) => return Err(Violation::Masked),
            (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
            }
            (126 | 127, _) => return Ok(None),
            (short, _) => (2, u64::from(*short)),
        };
        let payload_bytes = usize::try_from(payload_bytes).map_err(|_| Violation::TooLong)?;
        if payload_bytes > MESSAGE_BYTES_MAX {
            return Err(Violation::TooLong);
        }
        if opcode.is_control() && (!is_last || payload_bytes > CONTROL_BYTES_MAX) {
            return Err(Violation::Control);
        }
        Ok(Some(Self { is_last, opcode, bytes: header_bytes, payload_bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame as a server sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[first, length], payload].concat()
    }

    fn buffer(frames: &[Vec<u8>]) -> FrameBuffer {
        FrameBuffer::starting_with(frames.concat())
    }

    #[test]
    fn frames_are_taken_one_after_the_other_as_soon_as_they_are_whole() {
        let mut buffer = FrameBuffer::default();
        let bytes = [frame(0x82, b"one"), frame(0x81, b"two")].concat();
        buffer.room().extend_from_slice(&bytes[..4]);
        assert_eq!(buffer.next_frame(), Ok(None));
        buffer.room().extend_from_slice(&bytes[4..]);
        assert_eq!(buffer.next_frame(), Ok(Some(Frame::Binary(b"one"))));
        assert_eq!(buffer.next_frame(), Ok(Some(Frame::Text("two"))));
        assert_eq!(buffer.next_frame(), Ok(None));
        assert!(buffer.room().is_empty());
    }

    #[test]
    fn lengths_of_every_form_are_read_as_they_are_written() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![7; length];
            let mut bytes = Vec::new();
            write_frame(&mut bytes, Opcode::Binary, &payload);
            assert_eq!(bytes[1] & 0x80, 0x80, "clients mask");
            // What a server would send: the same without the mask.
            let mask = bytes.len() - length - 4;
            bytes.drain(mask..mask + 4);
            bytes[1] &= 0x7F;
            let mut buffer = FrameBuffer::starting_with(bytes);
            assert_eq!(buffer.next_frame(), Ok(Some(Frame::Binary(&payload))));
        }
    }

    #[test]
    fn fragments_are_put_together_and_control_frames_pass_between_them() {
        let mut buffer = buffer(&[
            frame(0x01, b"to"),
            frame(0x89, b"ping"),
            frame(0x00, b"get"),
            frame(0x80, b"her"),
        ]);
        assert_eq!(buffer.next_frame(), Ok(Some(Frame::Ping(b"ping"))));
        assert_eq!(buffer.next_frame(), Ok(Some(Frame::Text("together"))));
    }

    #[test]
    fn a_close_frame_has_a_code_and_a_reason_or_neither() {
        let closed = Closed { code: Some(1001), reason: "Server shutdown".to_owned() };
        let mut with_both = buffer(&[frame(0x88, b"\x03\xE9Server shutdown")]);
        assert_eq!(with_both.next_frame(), Ok(Some(Frame::Close(closed))));
        let mut with_neither = buffer(&[frame(0x88, b"")]);
        assert_eq!(with_neither.next_frame(), Ok(Some(Frame::Close(Closed::without_code(&"")))));
    }

    #[test]
    fn what_a_server_may_not_send_is_refused() {
        for (bytes, violation) in [
            (frame(0xC1, b""), Violation::Header),
            (frame(0x83, b""), Violation::Header),
            (vec![0x82, 0x80, 0, 0, 0, 0], Violation::Masked),
            (frame(0x09, b""), Violation::Control),
            (vec![0x89, 126, 0, 126], Violation::Control),
            (frame(0x80, b""), Violation::Fragments),
            ([frame(0x01, b""), frame(0x81, b"")].concat(), Violation::Fragments),
            (frame(0x81, &[0xFF]), Violation::Text),
            (vec![0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0], Violation::TooLong),
        ] {
            assert_eq!(FrameBuffer::starting_with(bytes).next_frame(), Err(violation));
        }
    }
}
