//! What a refused configuration says, and where a value came from.

use std::fmt;
use std::path::PathBuf;

/// Where the value of a setting was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave a value.
    Default,
    /// The value follows from another setting, whose key this is.
    FollowsFrom(&'static str),
    /// The file given by `--config`.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// The command line; the text is the flag or the subcommand that implies the value.
    CommandLine(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::FollowsFrom(key) => write!(formatter, "follows from {key}"),
            Self::File(path) => write!(formatter, "file {}", path.display()),
            Self::Environment(name) => write!(formatter, "environment variable {name}"),
            Self::CommandLine(flag) => write!(formatter, "command line, {flag}"),
        }
    }
}

/// One thing that is wrong: which setting, where it was given, and what would be right. Its text
/// is a single line and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}")]
pub struct ConfigError {
    line: String,
}

impl ConfigError {
    pub(super) fn new(line: impl AsRef<str>) -> Self {
        Self { line: line.as_ref().replace(char::is_control, " ") }
    }

    pub(super) fn at(subject: &str, origin: &Origin, message: impl fmt::Display) -> Self {
        Self::new(format!("{subject} ({origin}): {message}"))
    }
}

/// Everything that is wrong with a configuration, so that it takes one attempt to repair it.
/// `Display` prints a line for each error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// The errors in the order in which they were found; there is at least one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            write!(formatter, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
