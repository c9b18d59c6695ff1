//! Why a part of the test environment could not be had, in words for the person running the tests.

use std::fmt;

#[derive(Debug)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// Puts what was being done in front of what went wrong.
    pub(crate) fn while_doing(action: &str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self(format!("{action}: {error}"))
    }

    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.0.contains(text)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
