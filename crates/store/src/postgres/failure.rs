//! What an error of PostgreSQL means to the caller: whether the edit or the store is at fault, and
//! what an operator has to look at.

use std::error::Error as _;

use deadpool_postgres::{HookError, PoolError};
use rustls::CertificateError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::error::{Cause, OpenError, StoreError};
use crate::sql::Meaning::{self, Edit, Store};

/// Whether the statement would have stored something twice.
pub(super) fn is_repeat(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
}

/// Whether the two sides could not agree on how to encrypt, or on who they are.
pub(super) fn is_tls_failure(error: &tokio_postgres::Error) -> bool {
    rustls_error(error).is_some_and(is_disagreement)
}

/// Whether this was the wrong server: one that takes no writes where one that does was asked for.
pub(super) fn is_read_only_server(error: &tokio_postgres::Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    // The driver's words rather than its kind: a socket without permission has the same kind.
    cause.is_some_and(|cause| cause.to_string() == "database does not allow writes")
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(database) = error.as_db_error() else {
            return on_this_side(&error);
        };
        // Message and code only: the detail repeats stored values.
        let (message, code) = (database.message(), database.code().code());
        let text = format!("{message} ({code})");
        if let Some((cause, hint)) = hint(code, message) {
            return Self::unavailable(cause, format!("{text}: {hint}"));
        }
        meaning(code, database.file(), is_panic(database)).with_reason(text)
    }
}

impl From<tokio_postgres::Error> for OpenError {
    fn from(error: tokio_postgres::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// An error without a code of the server's.
fn on_this_side(error: &tokio_postgres::Error) -> StoreError {
    let mut text = with_causes(error);
    if let Some(hint) = tls_hint(error, &text) {
        text = format!("{text}: {hint}");
    }
    // The driver keeps the kind to itself, but for its words.
    let kind = error.to_string();
    let is = |kinds: &[&str]| kinds.iter().any(|known| kind.starts_with(known));
    if is(&["error serializing parameter", "error encoding message"]) {
        return StoreError::EditRefused(text);
    }
    let cause = if is_tls_failure(error) {
        Cause::Encryption
    } else if is_read_only_server(error) {
        Cause::ReadOnly
    } else if error.is_closed() || is_io(error) {
        Cause::Unreachable
    } else if is(&["authentication error"]) {
        Cause::CredentialsRefused
    } else if is(&["error performing TLS handshake"]) {
        Cause::Encryption
    } else if is(&["timeout waiting for server"]) {
        Cause::Timeout
    } else if is(&["error deserializing column", "invalid column", "query returned"]) {
        Cause::SchemaMissing
    } else {
        Cause::Misconfigured
    };
    StoreError::unavailable(cause, text)
}

/// Whether the server itself failed, as it does when it can't write its log: it starts again.
fn is_panic(error: &DbError) -> bool {
    error.parsed_severity() == Some(Severity::Panic)
}

/// By the code, or its class: the first that it begins with counts. Every class of the appendix
/// "PostgreSQL Error Codes" is here; one that is not would be [`Cause::Other`] too.
const MEANINGS: [(&str, Meaning); 55] = [
    ("00", Store(Cause::Other)),
    ("01", Store(Cause::Other)),
    ("02", Store(Cause::Other)),
    ("03", Store(Cause::Other)),
    ("08", Store(Cause::Unreachable)),
    ("09", Store(Cause::Other)),
    // A plan that was made for other columns, among others.
    ("0A", Store(Cause::SchemaMissing)),
    ("0B", Store(Cause::Other)),
    ("0F", Store(Cause::Other)),
    ("0L", Store(Cause::PermissionMissing)),
    ("0P", Store(Cause::PermissionMissing)),
    ("0Z", Store(Cause::Other)),
    ("10", Store(Cause::Other)),
    ("20", Store(Cause::Other)),
    ("21", Store(Cause::Other)),
    ("22", Edit),
    // A column that somebody else added: this program leaves none of its own out.
    ("23502", Store(Cause::SchemaMissing)),
    ("23", Edit),
    ("24", Store(Cause::Other)),
    // A server that was made a standby: the next connection finds the new primary.
    ("25006", Store(Cause::ReadOnly)),
    ("25P03", Store(Cause::Interrupted)),
    ("25P04", Store(Cause::Interrupted)),
    ("25", Store(Cause::Other)),
    // The connection has lost its prepared statements; it is thrown away.
    ("26", Store(Cause::Interrupted)),
    ("27", Store(Cause::Other)),
    ("28", Store(Cause::CredentialsRefused)),
    ("2B", Store(Cause::PermissionMissing)),
    ("2D", Store(Cause::Other)),
    ("2F", Store(Cause::Other)),
    ("34", Store(Cause::Other)),
    ("38", Store(Cause::Other)),
    ("39", Store(Cause::Other)),
    ("3B", Store(Cause::Other)),
    ("3D", Store(Cause::DatabaseMissing)),
    ("3F", Store(Cause::SchemaMissing)),
    ("40", Store(Cause::Conflict)),
    ("42501", Store(Cause::PermissionMissing)),
    ("42", Store(Cause::SchemaMissing)),
    ("44", Store(Cause::Other)),
    ("53100", Store(Cause::DiskFull)),
    ("53", Store(Cause::Overloaded)),
    ("54", Edit),
    ("55006", Store(Cause::Conflict)),
    ("55P03", Store(Cause::Conflict)),
    ("55", Store(Cause::Other)),
    ("57P04", Store(Cause::DatabaseMissing)),
    ("57", Store(Cause::Interrupted)),
    ("58", Store(Cause::DiskFailing)),
    ("72", Store(Cause::Conflict)),
    ("F0", Store(Cause::Misconfigured)),
    ("HV", Store(Cause::Other)),
    ("P0", Store(Cause::Other)),
    ("XX001", Store(Cause::Damaged)),
    ("XX002", Store(Cause::Damaged)),
    ("XX", Store(Cause::Other)),
];

/// Where the code alone would mislead: the code and the source file that raises it, which is the
/// same in all versions.
const MEANINGS_BY_SOURCE: [(&str, &str, Cause); 5] = [
    // A quota or a limit on the size of files is an internal error, a file system that became
    // read-only a lack of privilege. A full disk has a code of its own, and so have damaged files.
    ("XX000", "md.c", Cause::DiskFailing),
    ("42501", "md.c", Cause::DiskFailing),
    // No partition takes rows of today.
    ("23514", "execPartition.c", Cause::SchemaMissing),
    // Numbers of transactions have run out: nothing is written until the tables are vacuumed.
    ("54000", "varsup.c", Cause::ReadOnly),
    ("54000", "multixact.c", Cause::ReadOnly),
];

fn meaning(code: &str, source: Option<&str>, is_panic: bool) -> Meaning {
    let by_source = MEANINGS_BY_SOURCE
        .iter()
        .find(|(of_code, of_source, _)| *of_code == code && Some(*of_source) == source)
        .map(|(_, _, cause)| Store(*cause));
    let by_code = || MEANINGS.iter().find(|(start, _)| code.starts_with(start)).map(|it| it.1);
    match by_source.or_else(by_code).unwrap_or(Store(Cause::Other)) {
        Edit | Store(Cause::Other) if is_panic => Store(Cause::Interrupted),
        meaning => meaning,
    }
}

/// What to do about some errors, by code and a part of the message.
fn hint(code: &str, message: &str) -> Option<(Cause, &'static str)> {
    let hints = [
        (
            "28000",
            "no encryption",
            Cause::CredentialsRefused,
            "the server may demand TLS: use sslmode=require or stricter",
        ),
        (
            "28000",
            "client certificate",
            Cause::CredentialsRefused,
            "give it by sslcert and sslkey (SSL Certificate, SSL Key)",
        ),
        // A pooler has the code of a violated protocol for nearly everything.
        (
            "08P01",
            "startup parameter",
            Cause::Misconfigured,
            "set `options` of the connection string for the role instead (ALTER ROLE … SET …), or \
             connect to the database itself",
        ),
        ("08P01", "no such database", Cause::DatabaseMissing, "add it to the pooler's [databases]"),
        (
            "08P01",
            "statement pooling",
            Cause::Misconfigured,
            "set the pooler's pool_mode to transaction or session",
        ),
    ];
    hints
        .iter()
        .find(|(of_code, part, ..)| *of_code == code && message.contains(part))
        .map(|(_, _, cause, hint)| (*cause, *hint))
}

fn tls_hint(error: &tokio_postgres::Error, text: &str) -> Option<&'static str> {
    use CertificateError as Wrong;
    if text.contains("server does not support TLS") {
        return Some("switch it on there (ssl = on), or do without by sslmode=prefer");
    }
    match rustls_error(error)? {
        rustls::Error::InvalidCertificate(Wrong::UnknownIssuer | Wrong::BadSignature) => {
            Some("name the certificate it goes back to by sslrootcert (Root Certificate)")
        }
        rustls::Error::InvalidCertificate(
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. },
        ) => Some("connect by a name that the certificate has, or use sslmode=verify-ca"),
        rustls::Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. }) => {
            Some("renew the server's certificate")
        }
        rustls::Error::AlertReceived(_) => Some("the server refused the client's side of TLS"),
        _ => None,
    }
}

/// An error of the encryption, wherever the layers in between have put it.
fn rustls_error(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        // Such an error gives the cause of what it carries for its own.
        let carried = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        let found = error.downcast_ref().or_else(|| carried?.downcast_ref());
        if found.is_some() {
            return found;
        }
        cause = error.source();
    }
    None
}

/// Others come from a connection that breaks, and go away with it.
fn is_disagreement(error: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::PeerIncompatible(_) => true,
        rustls::Error::AlertReceived(alert) => matches!(
            alert,
            Alert::AccessDenied
                | Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRequired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::DecryptError
                | Alert::HandshakeFailure
                | Alert::InsufficientSecurity
                | Alert::ProtocolVersion
                | Alert::UnknownCA
                | Alert::UnsupportedCertificate
        ),
        _ => false,
    }
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        match error {
            // Nothing of an edit has been sent yet, so it can't be at fault.
            PoolError::Backend(error) => match error.into() {
                Self::EditRefused(text) => Self::unavailable(Cause::Misconfigured, text),
                other => other,
            },
            PoolError::PostCreateHook(HookError::Message(text)) => {
                Self::unavailable(Cause::Misconfigured, text)
            }
            PoolError::Timeout(_) => Self::unavailable(Cause::Overloaded, error.to_string()),
            other => Self::unavailable(Cause::Unreachable, with_causes(&other)),
        }
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some errors already show their cause.
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
