//! How Redis is reached, and what can be wrong with that.

use crate::config::RedisEndpoint;

/// How to reach the other nodes through Redis. Whether the server belongs to a cluster is asked of
/// the server.
#[derive(Debug, Clone)]
pub(crate) struct RedisOptions {
    /// Where Redis is; for a cluster any of its nodes.
    pub(crate) endpoint: RedisEndpoint,
    /// Put before the name of every channel, so that several communities can share a Redis.
    pub(crate) prefix: String,
    /// Certificates to trust in place of the machine's, which SSL_CERT_FILE can name too.
    pub(crate) roots_pem: Option<Vec<u8>>,
}

impl RedisOptions {
    /// Trusts what the machine trusts.
    pub(crate) fn new(endpoint: RedisEndpoint, prefix: impl Into<String>) -> Self {
        Self { endpoint, prefix: prefix.into(), roots_pem: None }
    }
}

/// Why the bus cannot work as configured. A Redis that does not answer is no such reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BusError {
    /// No or a wrong password.
    #[error(
        "Redis refused the login ({0}): check the user and the password in \
         STORAGE__REDIS__CONNECTIONSTRING"
    )]
    Login(String),
    /// The access control list misses something.
    #[error(
        "the Redis user lacks a permission ({0}): it needs +publish +subscribe +unsubscribe +ping \
         (for a cluster +spublish +ssubscribe +sunsubscribe +ping +cluster|slots) and \
         &PREFIX* for the prefix in STORAGE__REDIS__CHANNELPREFIX"
    )]
    Permission(String),
    /// No protocol version 3.
    #[error("Redis is too old: version 6 or later is needed, for a cluster version 7")]
    TooOld,
    /// Nothing to check a certificate with.
    #[error(
        "the certificates to trust cannot be read ({0}): install ca-certificates, or name a file \
         with SSL_CERT_FILE"
    )]
    Roots(String),
}

/// An empty set of roots would show as an unreachable Redis only.
pub(super) fn check_roots(options: &RedisOptions) -> Result<(), BusError> {
    if !options.endpoint.tls {
        return Ok(());
    }
    if let Some(pem) = &options.roots_pem {
        // The crate takes a text without any certificate for a good one.
        let marker = b"-----BEGIN CERTIFICATE-----";
        let holds_one = pem.windows(marker.len()).any(|window| window == marker);
        let none = || BusError::Roots("the text holds no certificate".to_owned());
        return if holds_one { Ok(()) } else { Err(none()) };
    }
    let found = rustls_native_certs::load_native_certs();
    match found.errors.first() {
        Some(error) => Err(BusError::Roots(error.to_string())),
        None if found.certs.is_empty() => Err(BusError::Roots("there are none".to_owned())),
        None => Ok(()),
    }
}
