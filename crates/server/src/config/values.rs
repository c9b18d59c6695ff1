//! The values as they were typed, each with its origin, and the errors found so far.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::Secret;
use super::error::{ConfigError, Origin};
use super::setting::{self, About, Sensitivity, Setting};

/// Collects from the weakest source to the strongest: a later value replaces an earlier one.
#[derive(Default)]
pub(super) struct Values {
    typed: HashMap<&'static str, (Origin, Secret)>,
    overruled: HashMap<&'static str, String>,
    errors: Vec<ConfigError>,
}

impl Values {
    /// Two values from one file, or from the command line, contradict each other.
    pub(super) fn put(&mut self, about: &'static About, origin: Origin, text: String) {
        if let Some((other, _)) = self.typed.get(about.key)
            && other.rank() == origin.rank()
        {
            let message = match origin {
                Origin::CommandLine(_) => format!("is given twice, also by {other}"),
                _ => "is given twice".to_owned(),
            };
            self.errors.push(ConfigError::at(about.key, &origin, message));
            return;
        }
        self.typed.insert(about.key, (origin, Secret::new(text)));
    }

    pub(super) fn refuse(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    /// Where the value was given, if anybody gave one.
    pub(super) fn origin(&self, about: &About) -> Option<&Origin> {
        self.typed.get(about.key).map(|(origin, _)| origin)
    }

    /// The value given, or else the default; `None` when there is neither, or after an error.
    pub(super) fn read<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        let about = &setting.about;
        let (origin, text) = match self.typed.get(about.key) {
            Some((origin, text)) => (origin, text.expose()),
            None => (&Origin::Default, about.default?),
        };
        match setting.parser.parse(text.trim()) {
            Ok(value) => Some(value),
            Err(message) => {
                let shown = shown(about, text).map(|text| format!("{text} is refused: "));
                let message = format!("{}{message}", shown.unwrap_or_default());
                let error = ConfigError::at(about.key, origin, message);
                self.errors.push(error);
                None
            }
        }
    }

    /// Records what a setting that was not given turned out to be.
    pub(super) fn conclude(&mut self, about: &'static About, from: &About, text: String) {
        self.typed.insert(about.key, (Origin::FollowsFrom(from.key), Secret::new(text)));
    }

    /// Records that a setting has no effect because another one wins over it.
    pub(super) fn overrule(&mut self, about: &'static About, winner: &About) {
        self.overruled.insert(about.key, format!("not used, since {} is given", winner.key));
    }

    /// The errors, unless there are none.
    pub(super) fn take_errors(&mut self) -> Vec<ConfigError> {
        std::mem::take(&mut self.errors)
    }

    /// Every setting with its effective value, its origin, its names and its meaning.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        for about in setting::ALL {
            let (origin, value) = match (self.typed.get(about.key), about.default) {
                (Some((origin, value)), _) => (origin, shown(about, value.expose())),
                // A default is no secret: it is in the documentation.
                (None, Some(default)) => (&Origin::Default, Some(format!("{default:?}"))),
                (None, None) => (&Origin::Default, Some("not set".to_owned())),
            };
            let value = value.unwrap_or_else(|| "***".to_owned());
            let note = self.overruled.get(about.key).map(|note| format!("; {note}"));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{key} = {value} ({origin}{note})\n    {effect}\n    Accepts {accepts}.\n    \
                 Environment: {environment}",
                key = about.key,
                note = note.unwrap_or_default(),
                effect = about.effect,
                accepts = about.accepts.accepts(),
                environment = about.environment.join(", "),
            );
        }
        text
    }
}

impl Origin {
    /// Sources of one rank are equally strong.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default | Self::FollowsFrom(_) => 0,
            Self::File(_) => 1,
            Self::Environment(_) => 2,
            Self::CommandLine(_) => 3,
        }
    }
}

/// The value as it may be printed. Besides the values of secret settings it holds back what looks
/// like the address of an account, since addresses end up in the wrong variable.
fn shown(about: &About, text: &str) -> Option<String> {
    let holds_login = text.contains('@') || text.to_lowercase().contains("password");
    let public = about.sensitivity == Sensitivity::Public && !holds_login;
    public.then(|| format!("{text:?}"))
}
