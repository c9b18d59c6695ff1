//! Finds the settings among the environment variables, and the variables that look like settings
//! and are none.

use std::ffi::{OsStr, OsString};

use super::error::{ConfigError, Origin};
use super::setting::{self, About};
use super::suggest;
use super::values::Values;

/// Beginnings of names that belong to this server: a variable that has one and is not known is a
/// mistyped setting. Longer prefixes would let mistakes in the prefix pass.
const OWN_PREFIXES: [&str; 8] =
    ["STORAGE__", "SYNCKIT_", "WS__", "LIMITS__", "AUTH__", "LOG__", "SHUTDOWN__", "CORS__"];

/// Used by test programs that share the environment with the server.
const FOREIGN_PREFIX: &str = "SYNCKIT_TEST_";

/// Settings of the reference servers without a counterpart here. Deployments carry them over, so
/// they are reported instead of refused.
const WITHOUT_EFFECT: [&str; 11] = [
    "ASPNETCORE_ENVIRONMENT",
    "DATABASE_POOL_MAX",
    "DATABASE_POOL_MIN",
    "ENVIRONMENT",
    "NODE_ENV",
    "RATE_LIMIT_PER_MINUTE",
    "SYNCKIT_AUTH_APIKEYS",
    "SYNCKIT_STORAGE_MODEL",
    "WS_ACCEPT_CONCURRENCY",
    "WS_CONNECTION_CREATION_CONCURRENCY",
    "WS_MAX_PENDING_SENDS_PER_CONNECTION",
];

/// Beginnings of further such names.
const PREFIXES_WITHOUT_EFFECT: [&str; 6] =
    ["JWT_", "AWARENESS_", "PUBSUB__", "SYNCKIT__JWT__", "SYNCKIT__AWARENESS__", "SYNC_BATCH_"];

/// Puts the settings found into `values` and returns the names of variables without effect.
pub(super) fn load(
    environment: impl Iterator<Item = (OsString, OsString)>,
    values: &mut Values,
) -> Vec<String> {
    let mut variables: Vec<(String, OsString)> =
        environment.filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
    // Byte order puts capitals first: of two spellings the one of the table counts.
    variables.sort();
    for about in setting::ALL {
        // Compose files pass a variable that nobody set as an empty one.
        let given = about.environment.iter().find_map(|name| {
            variables.iter().find(|(typed, value)| is_same(typed, name) && !value.is_empty())
        });
        if let Some((name, value)) = given {
            put(about, name, value, values);
        }
    }
    let mut unused = Vec::new();
    for (name, _) in variables {
        let compared = comparable(&name);
        if setting::ALL.iter().any(|about| about.environment.iter().any(|it| is_same(&name, it))) {
            continue;
        }
        if WITHOUT_EFFECT.contains(&compared.as_str())
            || PREFIXES_WITHOUT_EFFECT.iter().any(|prefix| compared.starts_with(prefix))
        {
            unused.push(name);
        } else if OWN_PREFIXES.iter().any(|prefix| compared.starts_with(prefix))
            && !compared.starts_with(FOREIGN_PREFIX)
        {
            values.refuse(unknown_variable(&name));
        }
    }
    unused
}

/// .NET ignores the case of names with sections. Other names are kept apart, as `host` and `HOST`
/// may come from different programs.
fn comparable(name: &str) -> String {
    if name.contains("__") { name.to_ascii_uppercase() } else { name.to_owned() }
}

fn is_same(typed: &str, name: &str) -> bool {
    comparable(typed) == comparable(name)
}

fn put(about: &'static About, name: &str, value: &OsStr, values: &mut Values) {
    let origin = Origin::Environment(name.to_owned());
    match value.to_str() {
        Some(text) => values.put(about, origin, text.to_owned()),
        None => values.refuse(ConfigError::at(about.key, &origin, "is not valid UTF-8")),
    }
}

fn unknown_variable(name: &str) -> ConfigError {
    let names = setting::ALL.iter().flat_map(|about| about.environment.iter().copied());
    let hint = suggest::hint(name, names);
    ConfigError::new(format!("environment variable {name}: unknown setting{hint}"))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;
    use crate::config::{Config, ConfigFlags};

    #[test]
    fn a_variable_that_is_no_text_is_refused() {
        let environment = [("PORT".into(), OsString::from_vec(vec![0xff]))];
        let refusal = Config::load(&ConfigFlags::default(), environment.into_iter()).unwrap_err();
        assert_eq!(refusal.to_string(), "port (environment variable PORT): is not valid UTF-8");
    }
}
