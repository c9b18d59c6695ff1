//! WebSocket frames that go out, written by hand, because a frame from the server is a short header
//! before bytes that all readers share.

use bytes::Bytes;
use synckit_engine::wire::{CloseCode, Framing};

/// The longest header of an unmasked frame.
pub(super) const HEADER_BYTES_MAX: usize = 10;

const FINAL: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;

/// Bytes that begin and end with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frames {
    /// One or more frames.
    Whole(Bytes),
    /// One frame in two pieces, the second of which other clients share.
    Split(Box<[Bytes; 2]>),
}

impl Frames {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Split(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }
}

impl From<Bytes> for Frames {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

/// Writes the header of a whole message right before its payload, which starts at
/// [`HEADER_BYTES_MAX`] in `buffer` and has so many more bytes elsewhere; where the frame starts.
pub(super) fn finish_frame(framing: Framing, buffer: &mut [u8], following: usize) -> usize {
    let opcode = match framing {
        Framing::Binary => BINARY,
        Framing::Json => TEXT,
    };
    let length = buffer.len() - HEADER_BYTES_MAX + following;
    let mut header = [0; HEADER_BYTES_MAX];
    header[0] = FINAL | opcode;
    let used = if let Ok(short @ 0..=125) = u8::try_from(length) {
        header[1] = short;
        2
    } else if let Ok(medium) = u16::try_from(length) {
        header[1] = 126;
        header[2..4].copy_from_slice(&medium.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        10
    };
    let start = HEADER_BYTES_MAX - used;
    buffer[start..HEADER_BYTES_MAX].copy_from_slice(&header[..used]);
    start
}

/// A ping without content.
pub(crate) fn ping_frame() -> Bytes {
    Bytes::from_static(&[FINAL | PING, 0])
}

/// A close frame with code and reason.
pub(super) fn close_frame(code: CloseCode, reason: &str) -> Bytes {
    // A control frame holds 125 bytes; every reason of this server is far shorter.
    let reason = &reason.as_bytes()[..reason.len().min(123)];
    let mut frame = vec![FINAL | CLOSE, u8::try_from(2 + reason.len()).unwrap_or(125)];
    frame.extend_from_slice(&code.code().to_be_bytes());
    frame.extend_from_slice(reason);
    frame.into()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tungstenite::Message;
    use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

    use super::*;

    #[test]
    fn headers_fit_right_before_their_payload() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let mut buffer = vec![7; HEADER_BYTES_MAX + length];
            let start = finish_frame(Framing::Binary, &mut buffer, 0);
            let config = WebSocketConfig::default().accept_unmasked_frames(true);
            let mut context = WebSocketContext::new(Role::Client, Some(config));
            let mut stream = Cursor::new(buffer.split_off(start));
            assert_eq!(context.read(&mut stream).unwrap(), Message::binary(vec![7; length]));
        }
    }
}
