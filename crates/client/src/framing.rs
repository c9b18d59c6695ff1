//! The header of a frame and the types of messages. No JSON is looked at here.

/// Bytes of the header in the binary framing.
pub const HEADER_BYTES: usize = 13;

/// How messages become bytes. The server answers in the one it read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// A header and a JSON object, in a binary message.
    #[default]
    Binary,
    /// One JSON object, in a text message.
    Json,
}

/// What a frame is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FrameError {
    #[error("a frame that is shorter than its header")]
    Header,
    #[error("a frame that ends before its payload does")]
    Payload,
}

/// A frame in the binary framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BinaryFrame<'a> {
    /// The type of its message.
    pub code: u8,
    /// Milliseconds since 1970.
    pub time: i64,
    /// One JSON object.
    pub payload: &'a [u8],
}

impl<'a> BinaryFrame<'a> {
    /// Reads the header; what follows the payload is ignored.
    ///
    /// # Errors
    /// [`FrameError`] when something is missing.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(FrameError::Header)?;
        let [code, t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3] = *header;
        let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3]));
        let payload = length.ok().and_then(|length| rest.get(..length));
        Ok(Self {
            code,
            time: i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            payload: payload.ok_or(FrameError::Payload)?,
        })
    }

    /// The type of its message, if this client knows it.
    #[must_use]
    pub fn message_type(&self) -> Option<MessageType> {
        MessageType::from_code(self.code)
    }
}

/// Appends the header of a frame whose payload follows.
pub fn write_header(out: &mut Vec<u8>, code: u8, time: u64, payload_bytes: usize) {
    out.push(code);
    out.extend_from_slice(&time.to_be_bytes());
    // A longer one is far above what any server reads.
    out.extend_from_slice(&u32::try_from(payload_bytes).unwrap_or(u32::MAX).to_be_bytes());
}

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names of the protocol")]
pub enum MessageType {
    Auth,
    AuthSuccess,
    AuthError,
    Subscribe,
    Unsubscribe,
    SyncRequest,
    SyncResponse,
    SyncStep1,
    SyncStep2,
    Delta,
    Ack,
    DeltaBatchChunk,
    Ping,
    Pong,
    AwarenessUpdate,
    AwarenessSubscribe,
    AwarenessState,
    DeltaBatch,
    Error,
}

/// Every type with its code and its name.
const TYPES: [(MessageType, u8, &str); 19] = [
    (MessageType::Auth, 0x01, "auth"),
    (MessageType::AuthSuccess, 0x02, "auth_success"),
    (MessageType::AuthError, 0x03, "auth_error"),
    (MessageType::Subscribe, 0x10, "subscribe"),
    (MessageType::Unsubscribe, 0x11, "unsubscribe"),
    (MessageType::SyncRequest, 0x12, "sync_request"),
    (MessageType::SyncResponse, 0x13, "sync_response"),
    (MessageType::SyncStep1, 0x14, "sync_step1"),
    (MessageType::SyncStep2, 0x15, "sync_step2"),
    (MessageType::Delta, 0x20, "delta"),
    (MessageType::Ack, 0x21, "ack"),
    (MessageType::DeltaBatchChunk, 0x23, "delta_batch_chunk"),
    (MessageType::Ping, 0x30, "ping"),
    (MessageType::Pong, 0x31, "pong"),
    (MessageType::AwarenessUpdate, 0x40, "awareness_update"),
    (MessageType::AwarenessSubscribe, 0x41, "awareness_subscribe"),
    (MessageType::AwarenessState, 0x42, "awareness_state"),
    (MessageType::DeltaBatch, 0x50, "delta_batch"),
    (MessageType::Error, 0xFF, "error"),
];

impl MessageType {
    /// In the binary framing.
    #[must_use]
    pub const fn code(self) -> u8 {
        // The table is in the order of the enum, which a test holds it to.
        TYPES[self as usize].1
    }

    /// In the JSON framing.
    #[must_use]
    pub const fn name(self) -> &'static str {
        TYPES[self as usize].2
    }

    /// The type of a code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        TYPES.iter().find(|(_, known, _)| *known == code).map(|(kind, ..)| *kind)
    }

    /// The type of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TYPES.iter().find(|(.., known)| *known == name).map(|(kind, ..)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_own_code_and_name() {
        for (kind, code, name) in TYPES {
            assert_eq!((kind.code(), kind.name()), (code, name));
            assert_eq!(MessageType::from_code(code), Some(kind));
            assert_eq!(MessageType::from_name(name), Some(kind));
        }
    }

    #[test]
    fn a_frame_is_read_as_it_was_written_and_what_follows_is_ignored() {
        let mut bytes = Vec::new();
        write_header(&mut bytes, 0x30, 1_700_000_000_000, 2);
        bytes.extend_from_slice(b"{}ignored");
        let frame = BinaryFrame { code: 0x30, time: 1_700_000_000_000, payload: b"{}" };
        assert_eq!(BinaryFrame::parse(&bytes), Ok(frame));
        assert_eq!(BinaryFrame::parse(&bytes[..14]), Err(FrameError::Payload));
        assert_eq!(BinaryFrame::parse(&bytes[..12]), Err(FrameError::Header));
    }
}
