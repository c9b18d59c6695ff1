//! What an error of PostgreSQL means to the caller: try again, or don't.

use std::error::Error as _;

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use crate::error::StoreError;

/// Whether the statement would have stored something twice.
pub(super) fn is_repeat(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::UNIQUE_VIOLATION)
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(database) = error.as_db_error() else {
            let text = with_causes(&error);
            // What is left then can't be helped by trying again: a value that a column can't hold,
            // a server that demands another way to authenticate.
            return if error.is_closed() || is_io(&error) {
                Self::Unavailable(text)
            } else {
                Self::Refused(text)
            };
        };
        // Message and code only: the detail repeats stored values.
        let text = format!("{} ({})", database.message(), database.code().code());
        classify(database.code().code(), text)
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
    }
}
