//! The one catalogue of errors that clients can get.
//!
//! On the wire: `{"error": text, "details": {"code", "reason"?, "documentId"?, "messageId"?}}`.
//! Texts that clients of other servers know are kept; `code` is what to branch on.

use std::fmt;

/// What went wrong, as `details.code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The frame is not a message: mend the client.
    InvalidMessage,
    /// A document id that is missing or breaks the rule: mend the client.
    InvalidDocumentId,
    /// A field name, client id or value that breaks a rule or a limit: mend the client.
    InvalidOperation,
    /// A clock entry that is negative, fractional, above 2^53 - 1, or too far ahead of all others:
    /// mend the client.
    InvalidClock,
    /// A kind of operation that this server does not store: don't send it.
    UnsupportedOperation,
    /// Authenticate first.
    AuthRequired,
    /// The credentials do not allow it.
    PermissionDenied,
    /// More messages a minute than allowed: send it again later.
    RateLimitExceeded,
    /// More subscriptions, awareness entries or client ids than allowed: drop some first.
    LimitExceeded,
    /// The store can't do its work now; the edit may or may not be stored: send it again later.
    StorageUnavailable,
    /// The data of this edit can't be stored: don't send it again.
    StorageRefused,
    /// What is stored of this document can't be read until an operator has mended it.
    DocumentDamaged,
}

impl ErrorCode {
    /// Every code, in the order of the catalogue.
    pub const ALL: [Self; 12] = [
        Self::InvalidMessage,
        Self::InvalidDocumentId,
        Self::InvalidOperation,
        Self::InvalidClock,
        Self::UnsupportedOperation,
        Self::AuthRequired,
        Self::PermissionDenied,
        Self::RateLimitExceeded,
        Self::LimitExceeded,
        Self::StorageUnavailable,
        Self::StorageRefused,
        Self::DocumentDamaged,
    ];

    /// The value of `details.code`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidMessage => "INVALID_MESSAGE",
            Self::InvalidDocumentId => "INVALID_DOCUMENT_ID",
            Self::InvalidOperation => "INVALID_OPERATION",
            Self::InvalidClock => "INVALID_CLOCK",
            Self::UnsupportedOperation => "UNSUPPORTED_OPERATION",
            Self::AuthRequired => "AUTH_REQUIRED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::RateLimitExceeded => "RATE_LIMIT_EXCEEDED",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::StorageUnavailable => "STORAGE_UNAVAILABLE",
            Self::StorageRefused => "STORAGE_REFUSED",
            Self::DocumentDamaged => "DOCUMENT_DAMAGED",
        }
    }

    /// The value of `error` where nothing more exact is said.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::InvalidMessage => "Invalid message format",
            Self::InvalidDocumentId => "Invalid document ID",
            Self::InvalidOperation => "Invalid operation",
            Self::InvalidClock => "Invalid clock",
            Self::UnsupportedOperation => "Unsupported operation",
            Self::AuthRequired => "Authentication required",
            Self::PermissionDenied => "Permission denied",
            Self::RateLimitExceeded => "Too many messages. Please slow down.",
            Self::LimitExceeded => "Limit exceeded",
            Self::StorageUnavailable => "Storage is not available. Please try again.",
            Self::StorageRefused => "Storage refused the change",
            Self::DocumentDamaged => "The stored document is damaged",
        }
    }

    /// Whether the same message may succeed later.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimitExceeded | Self::StorageUnavailable | Self::DocumentDamaged)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An `error` message to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    /// What to branch on.
    pub code: ErrorCode,
    /// The `error` text, when the code's own does not fit.
    pub text: Option<&'static str>,
    /// What exactly was wrong, and what would be right.
    pub reason: Option<String>,
    /// The document that it concerns, as the client named it.
    pub document: Option<String>,
    /// The message that it answers, as the client named it.
    pub message_id: Option<String>,
}

impl ErrorReply {
    /// An error with nothing but its code.
    #[must_use]
    pub fn new(code: ErrorCode) -> Self {
        Self { code, text: None, reason: None, document: None, message_id: None }
    }

    /// Says what exactly was wrong.
    #[must_use]
    pub fn because(mut self, reason: impl fmt::Display) -> Self {
        self.reason = Some(reason.to_string());
        self
    }

    /// Replaces the code's `error` text by one that clients of other servers know.
    #[must_use]
    pub fn text(mut self, text: &'static str) -> Self {
        self.text = Some(text);
        self
    }

    /// Names the document.
    #[must_use]
    pub fn on(mut self, document: impl fmt::Display) -> Self {
        self.document = Some(document.to_string());
        self
    }

    /// Names the message.
    #[must_use]
    pub fn answering(mut self, message_id: Option<&str>) -> Self {
        self.message_id = message_id.map(str::to_owned);
        self
    }
}
