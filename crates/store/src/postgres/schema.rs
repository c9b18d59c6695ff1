//! The schema that has the tables. It is found once, and from then on every connection is told:
//! whatever `search_path` a role is given later, or a pooler carries over from another client, the
//! statements mean the same tables.

use std::sync::{Arc, OnceLock};

use super::connection_string::ConnectionSettings;

/// Temporary tables come last: somebody else's, on a connection that a pooler shares, would hide ours.
const PINNED_TAIL: &str = ", pg_temp";

/// What is known of the schema.
#[derive(Debug, Default)]
pub(super) struct SchemaChoice {
    /// Where the connection string says to look.
    pub(super) asked: Option<String>,
    /// Whether the connection string names schemas in any way.
    pub(super) is_named: bool,
    pinned: OnceLock<Pinned>,
}

/// The schema, in the forms in which connections are told of it.
#[derive(Debug)]
struct Pinned {
    /// A setting of the session, as an expression.
    call: String,
    /// What begins a transaction behind a pooler.
    begin: Arc<str>,
}

impl SchemaChoice {
    pub(super) fn new(settings: &ConnectionSettings) -> Self {
        let options = settings.config.get_options().unwrap_or_default();
        let asked = settings.search_path.clone();
        let is_named = asked.is_some() || options.contains("search_path");
        Self { asked, is_named, pinned: OnceLock::new() }
    }

    /// For a connection of its own, once the schema is known.
    pub(super) fn call(&self) -> Option<&str> {
        self.pinned.get().map(|pinned| pinned.call.as_str())
    }

    /// For one behind a pooler, once the schema is known.
    pub(super) fn begin(&self) -> Option<Arc<str>> {
        self.pinned.get().map(|pinned| Arc::clone(&pinned.begin))
    }

    /// From now on `schema`, a quoted name, is the one; `begin` begins a transaction without it.
    pub(super) fn pin(&self, schema: &str, begin: &str) {
        let path = format!("{schema}{PINNED_TAIL}");
        let literal = path.replace('\'', "''");
        let call = format!("set_config('search_path', '{literal}', false)");
        let begin = format!("{begin}; SET LOCAL search_path = {path}").into();
        // Two at once have found the same.
        let _ = self.pinned.set(Pinned { call, begin });
    }
}
