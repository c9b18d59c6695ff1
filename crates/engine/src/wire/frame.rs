//! The two framings and the binary header:
//!
//! ```text
//! offset 0      u8   type code
//! offset 1..8   i64  timestamp, milliseconds since 1970, big-endian
//! offset 9..12  u32  payload length N in bytes, big-endian
//! offset 13..   N bytes of UTF-8 JSON, always an object; what follows them is ignored
//! ```

/// Bytes before the payload of a binary frame.
pub const HEADER_BYTES: usize = 13;

/// The kind of WebSocket message a frame came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A text message.
    Text,
    /// A binary message.
    Binary,
}

/// How a client writes its messages, and so how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Header and payload in a binary frame.
    Binary,
    /// Flat JSON in a text frame.
    Json,
}

impl Framing {
    /// The framing of one received frame: text is JSON, and so is a binary frame that opens with
    /// a brace (no type code is `0x7B`).
    #[must_use]
    pub fn of(kind: FrameKind, bytes: &[u8]) -> Self {
        match kind {
            FrameKind::Text => Self::Json,
            FrameKind::Binary if bytes.first() == Some(&b'{') => Self::Json,
            FrameKind::Binary => Self::Binary,
        }
    }
}

macro_rules! message_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $code:expr;)*) => {
        /// Every type of message.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum MessageType {
            $($(#[$doc])* $variant,)*
        }

        impl MessageType {
            /// The name in JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The code in a binary header; `connect` and `disconnect` have none.
            #[must_use]
            pub fn code(self) -> Option<u8> {
                match self { $(Self::$variant => $code,)* }
            }

            /// The type of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

message_types! {
    /// Credentials, or none.
    Auth = "auth", Some(0x01);
    /// Who the connection is.
    AuthSuccess = "auth_success", Some(0x02);
    /// The credentials were refused.
    AuthError = "auth_error", Some(0x03);
    /// Follow a document.
    Subscribe = "subscribe", Some(0x10);
    /// Stop following.
    Unsubscribe = "unsubscribe", Some(0x11);
    /// Ask for the whole state.
    SyncRequest = "sync_request", Some(0x12);
    /// The whole state.
    SyncResponse = "sync_response", Some(0x13);
    /// Ask for missing operations.
    SyncStep1 = "sync_step1", Some(0x14);
    /// Missing operations: always none.
    SyncStep2 = "sync_step2", Some(0x15);
    /// An edit, or the current value of a field.
    Delta = "delta", Some(0x20);
    /// The edit is stored.
    Ack = "ack", Some(0x21);
    /// A part of a large batch.
    DeltaBatchChunk = "delta_batch_chunk", Some(0x23);
    /// Are you there?
    Ping = "ping", Some(0x30);
    /// Here I am.
    Pong = "pong", Some(0x31);
    /// One client's awareness.
    AwarenessUpdate = "awareness_update", Some(0x40);
    /// Follow a document's awareness.
    AwarenessSubscribe = "awareness_subscribe", Some(0x41);
    /// Everybody's awareness.
    AwarenessState = "awareness_state", Some(0x42);
    /// Several edits.
    DeltaBatch = "delta_batch", Some(0x50);
    /// Something was wrong.
    Error = "error", Some(0xFF);
    /// Hello, ignored.
    Connect = "connect", None;
    /// Goodbye.
    Disconnect = "disconnect", None;
}

/// `delta_batch` as two of the reference servers number it; read, never written.
const DELTA_BATCH_ALIAS: u8 = 0x22;

impl MessageType {
    /// The type of that code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0x01 => Self::Auth,
            0x02 => Self::AuthSuccess,
            0x03 => Self::AuthError,
            0x10 => Self::Subscribe,
            0x11 => Self::Unsubscribe,
            0x12 => Self::SyncRequest,
            0x13 => Self::SyncResponse,
            0x14 => Self::SyncStep1,
            0x15 => Self::SyncStep2,
            0x20 => Self::Delta,
            0x21 => Self::Ack,
            0x23 => Self::DeltaBatchChunk,
            0x30 => Self::Ping,
            0x31 => Self::Pong,
            0x40 => Self::AwarenessUpdate,
            0x41 => Self::AwarenessSubscribe,
            0x42 => Self::AwarenessState,
            0x50 | DELTA_BATCH_ALIAS => Self::DeltaBatch,
            0xFF => Self::Error,
            _ => return None,
        })
    }
}

/// A binary frame taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BinaryFrame<'a> {
    /// What the header says it is.
    pub message_type: MessageType,
    /// The header's time.
    pub timestamp: i64,
    /// The JSON.
    pub payload: &'a [u8],
}

impl<'a> BinaryFrame<'a> {
    /// Takes a frame apart.
    ///
    /// # Errors
    /// What is wrong with its header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(|| {
            format!("a binary frame opens with {HEADER_BYTES} bytes; this one has {}", bytes.len())
        })?;
        let [code, t0, t1, t2, t3, t4, t5, t6, t7, n0, n1, n2, n3] = *header;
        let message_type = MessageType::from_code(code)
            .ok_or_else(|| format!("type code 0x{code:02X} is not known"))?;
        let length = u32::from_be_bytes([n0, n1, n2, n3]) as usize;
        let payload = rest.get(..length).ok_or_else(|| {
            format!("the header announces {length} bytes of payload; {} follow it", rest.len())
        })?;
        let timestamp = i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        Ok(Self { message_type, timestamp, payload })
    }
}
