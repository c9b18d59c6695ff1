//! Finds the schema that has the tables, or the one to make them in.

use tokio_postgres::types::Type;

use crate::error::OpenError;

use super::pool::Connections;
use super::session::Session;
use super::statements::Statement;

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

/// Pins the schema, unless it is known. Makes nothing.
pub(super) async fn find_schema(connections: &Connections) -> Result<(), OpenError> {
    if connections.facts().schema.call().is_some() {
        return Ok(());
    }
    let schema = connections
        .within(async {
            let session = connections.session().await?;
            session.begin().await?;
            match &connections.facts().schema.asked {
                Some(path) => {
                    session.rows_in_transaction(SET_PATH, &[path]).await?;
                }
                None => session.run(FORGET_PATH).await?,
            }
            let schema = choose(&session, connections.facts().schema.is_named).await?;
            session.commit().await?;
            session.release();
            Ok::<_, OpenError>(schema)
        })
        .await?;
    connections.pin_schema(&schema);
    Ok(())
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
