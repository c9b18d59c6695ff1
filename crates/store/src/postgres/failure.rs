//! What an error of PostgreSQL means to the caller: try again, or don't.

use std::error::Error as _;

use deadpool_postgres::{HookError, PoolError};
use rustls::CertificateError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::error::StoreError;

/// The source file of PostgreSQL that opens, reads and extends the files of tables, in all versions.
const STORAGE_MANAGER: &str = "md.c";

/// Whether the statement would have stored something twice.
pub(super) fn is_repeat(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
}

/// Whether the two sides could not agree on how to encrypt, or on who they are.
pub(super) fn is_tls_failure(error: &tokio_postgres::Error) -> bool {
    rustls_error(error).is_some_and(is_disagreement)
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(database) = error.as_db_error() else {
            let mut text = with_causes(&error);
            if let Some(hint) = tls_hint(&error, &text) {
                text = format!("{text}: {hint}");
            }
            // What is left then can't be helped by trying again: a value that a column can't hold,
            // a server that demands another way to authenticate, or isn't the one it should be.
            return if error.is_closed() || (is_io(&error) && !is_tls_failure(&error)) {
                Self::Unavailable(text)
            } else {
                Self::Refused(text)
            };
        };
        // Message and code only: the detail repeats stored values.
        let (message, code) = (database.message(), database.code().code());
        let text = format!("{message} ({code})");
        match database_hint(code, message) {
            Some(hint) => Self::Refused(format!("{text}: {hint}")),
            None if is_panic(database) || is_file_trouble(code, database.file()) => {
                Self::Unavailable(text)
            }
            None => classify(code, text),
        }
    }
}

/// Whether the server itself failed, as it does when it can't write its log: it starts again.
fn is_panic(error: &DbError) -> bool {
    error.parsed_severity() == Some(Severity::Panic)
}

/// Whether the files of a table could not be used for a reason that has no code of its own: a quota
/// or a limit on their size is an internal error (XX000), a file system that became read-only a
/// lack of privilege (42501). A full disk has one (53100), and so have damaged files (XX001).
fn is_file_trouble(code: &str, source: Option<&str>) -> bool {
    source == Some(STORAGE_MANAGER) && matches!(code, "XX000" | "42501")
}

/// What to do about an error that no waiting helps.
fn database_hint(code: &str, message: &str) -> Option<&'static str> {
    let hints = [
        ("28000", "no encryption", "the server may demand TLS: use sslmode=require or stricter"),
        ("28000", "client certificate", "give it by sslcert and sslkey (SSL Certificate, SSL Key)"),
        // A pooler has the code of a violated protocol for nearly everything.
        (
            "08P01",
            "startup parameter",
            "set `options` of the connection string for the role instead (ALTER ROLE … SET …), or \
             connect to the database itself",
        ),
        ("08P01", "no such database", "add it to the pooler's [databases]"),
        ("08P01", "statement pooling", "set the pooler's pool_mode to transaction or session"),
    ];
    hints
        .iter()
        .find(|(of_code, part, _)| *of_code == code && message.contains(part))
        .map(|(_, _, hint)| *hint)
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

fn classify(code: &str, text: String) -> StoreError {
    match code {
        "40001" | "40P01" | "40003" => StoreError::Conflict(text),
        // The server ended the statement or the connection, or a lock was not free in time.
        "55P03" | "57014" | "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => {
            StoreError::Unavailable(text)
        }
        // A server that was made a standby: the next connection finds the new primary.
        "25006" => StoreError::Unavailable(text),
        // The connection has lost its prepared statements; it is thrown away.
        "26000" => StoreError::Unavailable(text),
        "3F000" | "42P01" | "42703" | "42883" => StoreError::Schema(text),
        // Connection trouble; too little memory, disk or connections; errors of the system.
        _ if ["08", "53", "58"].iter().any(|class| code.starts_with(class)) => {
            StoreError::Unavailable(text)
        }
        _ => StoreError::Refused(text),
    }
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::PostCreateHook(HookError::Message(text)) => Self::Refused(text.into_owned()),
            other => Self::Unavailable(with_causes(&other)),
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
mod tests {
    use super::*;

    #[test]
    fn the_code_says_whether_to_repeat() {
        for code in [
            "08006", "08000", "40001", "40P01", "53300", "53100", "57P01", "57P02", "57P03",
            "57014", "55P03", "25006", "26000", "58030",
        ] {
            assert!(classify(code, String::new()).is_transient(), "{code}");
        }
        for code in ["22001", "22P05", "23505", "28P01", "3D000", "42P01", "42501", "XX001"] {
            assert!(!classify(code, String::new()).is_transient(), "{code}");
        }
        assert!(matches!(classify("42P01", String::new()), StoreError::Schema(_)));
        assert!(is_file_trouble("XX000", Some("md.c")), "a quota");
        assert!(is_file_trouble("42501", Some("md.c")), "a read-only file system");
        assert!(!is_file_trouble("XX001", Some("md.c")), "a damaged file");
        assert!(!is_file_trouble("42501", Some("aclchk.c")), "a missing privilege");
    }
}
