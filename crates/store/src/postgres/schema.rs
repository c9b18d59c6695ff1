//! The schema that has the tables. It is found once, and from then on every connection is told:
//! whatever `search_path` a role is given later, or a pooler carries over from another client, the
//! statements mean the same tables.

use std::sync::{Arc, OnceLock};

use tokio_postgres::types::Type;

use crate::error::OpenError;

use super::connection_string::ConnectionSettings;
use super::session::{Connections, Session};
use super::statements::Statement;

/// Temporary tables come last: somebody else's, on a connection that a pooler shares, would hide ours.
const PINNED_TAIL: &str = ", pg_temp";

/// Takes back what a client before this one may have set on a connection that a pooler shares.
const FORGET_PATH: &str = "SET LOCAL search_path TO DEFAULT";

const SET_PATH: Statement =
    Statement { text: "SELECT set_config('search_path', $1, true)", types: &[Type::TEXT] };

/// The schemas of the search path in its order, and then those that have tables of this program:
/// quoted name, whether it is on the path, whether it has the tables, the path. The catalogue rather
/// than the information schema, which hides what the role has no right to.
const SCHEMAS: Statement = Statement {
    text: r#"
WITH ours AS (
    SELECT listed.relnamespace AS id
    FROM pg_class AS listed
    JOIN pg_attribute AS checksum ON checksum.attrelid = listed.oid
    JOIN pg_class AS documents ON documents.relnamespace = listed.relnamespace
    JOIN pg_attribute AS head ON head.attrelid = documents.oid
    WHERE listed.relname = 'schema_migrations' AND checksum.attname = 'checksum'
        AND documents.relname = 'documents' AND head.attname = 'head_seq'
        AND NOT checksum.attisdropped AND NOT head.attisdropped
)
SELECT quote_ident(nspname), path.place IS NOT NULL, oid IN (SELECT id FROM ours),
    current_setting('search_path')
FROM pg_namespace
LEFT JOIN unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)
    ON path.name = nspname
WHERE path.place IS NOT NULL OR oid IN (SELECT id FROM ours)
ORDER BY path.place NULLS LAST, nspname
"#,
    types: &[],
};

const PATH: Statement = Statement { text: "SELECT current_setting('search_path')", types: &[] };

/// What is known of the schema.
#[derive(Debug, Default)]
pub(super) struct SchemaChoice {
    /// Where the connection string says to look.
    asked: Option<String>,
    /// Whether the connection string names schemas in any way.
    is_named: bool,
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

impl Connections {
    /// Finds the schema, unless it is known. Makes nothing.
    pub(super) async fn find_schema(&self) -> Result<(), OpenError> {
        if self.link().schema.call().is_some() {
            return Ok(());
        }
        let schema = self
            .within(async {
                let session = self.session().await?;
                session.begin().await?;
                match &self.link().schema.asked {
                    Some(path) => {
                        session.rows_in_transaction(SET_PATH, &[path]).await?;
                    }
                    None => session.run(FORGET_PATH).await?,
                }
                let schema = choose(&session, self.link().schema.is_named).await?;
                session.commit().await?;
                session.release();
                Ok::<_, OpenError>(schema)
            })
            .await?;
        self.pin_schema(&schema);
        Ok(())
    }
}

/// The first schema of the path that has the tables, else the first in which they can be made.
async fn choose(session: &Session, is_named: bool) -> Result<String, OpenError> {
    let mut first_free = None;
    let mut elsewhere = None;
    for row in session.rows_in_transaction(SCHEMAS, &[]).await? {
        let schema: String = row.try_get(0)?;
        match (row.try_get(1)?, row.try_get(2)?) {
            (true, true) => return Ok(schema),
            (true, false) => first_free = first_free.or(Some(schema)),
            (false, _) => elsewhere = elsewhere.or(Some(schema)),
        }
    }
    let path = session.rows_in_transaction(PATH, &[]).await?;
    let path: &str = path.first().map_or(Ok(""), |row| row.try_get(0))?;
    match (first_free, elsewhere) {
        (_, Some(schema)) if !is_named => Err(OpenError::Schema(format!(
            "the tables are in the schema {schema}, which is not on the search path ({path}): put \
             Search Path={schema} (in a URL search_path={schema}) into the connection string; for \
             a second set of tables, name another schema there"
        ))),
        (Some(schema), elsewhere) => {
            if let Some(other) = elsewhere {
                tracing::warn!(schema, other, "there are tables of this program in another schema");
            }
            Ok(schema)
        }
        (None, _) => Err(OpenError::Schema(format!(
            "no schema of the search path ({path}) is there: make it, or name another by Search \
             Path (in a URL search_path) in the connection string"
        ))),
    }
}
