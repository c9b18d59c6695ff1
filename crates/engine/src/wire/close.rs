//! WebSocket close codes in bands: what the client should do next.

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The client asked for it.
    Normal,
    /// The server stops. Come back: another instance, or this one in a moment, will answer.
    GoingAway,
    /// A frame that is no WebSocket, or not UTF-8 where it must be. Don't come back unchanged.
    ProtocolError,
    /// Not authenticated, or nothing but broken messages. Come back with other credentials, or mended.
    PolicyViolation,
    /// A message over the size limit. Don't send it again.
    MessageTooBig,
    /// Something failed inside the server for this document. Come back.
    InternalError,
    /// The client reads too slowly, or was silent too long. Come back and synchronise.
    TryAgainLater,
}

impl CloseCode {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::PolicyViolation => 1008,
            Self::MessageTooBig => 1009,
            Self::InternalError => 1011,
            Self::TryAgainLater => 1013,
        }
    }
}
