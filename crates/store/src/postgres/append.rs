//! Appending a batch.
//!
//! The usual way is one statement for all documents that are there. Those it doesn't find are made
//! by a second one. Only when the first meets a delta that is already stored, the repeats are
//! looked up, under lock, and left out. Each statement takes all deltas of a document or none.

use std::collections::{HashMap, HashSet};
use std::error::Error;

use bytes::BytesMut;
use synckit_engine::delta::Delta;
use synckit_engine::position::{Epoch, Seq};
use tokio_postgres::Row;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use crate::contract::{Append, Appended, Delivery, check_batch};
use crate::error::{Cause, StoreError};
use crate::sql;

use super::failure::is_repeat;
use super::pool::Connections;
use super::session::{Parameters, Session};
use super::statements::{self, Statement};

/// Each round ends with fewer documents unless others make or delete them in the same moment.
const ROUNDS_MAX: usize = 8;

pub(super) async fn append(
    connections: &Connections,
    batch: &[Append],
) -> Result<Vec<Appended>, StoreError> {
    check_batch(batch)?;
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    connections.within(append_in_rounds(connections, batch)).await
}

async fn append_in_rounds(
    connections: &Connections,
    batch: &[Append],
) -> Result<Vec<Appended>, StoreError> {
    let session = connections.writing_session().await?;
    let mut answers = Answers { appended: vec![None; batch.len()] };
    let mut parts: Vec<Part<'_>> =
        batch.iter().enumerate().map(|(at, append)| Part::new(at, append, None)).collect();
    // Every node locks in this order.
    parts.sort_unstable_by_key(|part| part.document());
    for _ in 0..ROUNDS_MAX {
        match write(&session, Transaction::Own, statements::APPEND, &parts).await? {
            Written::Rows(rows) => answers.take(&mut parts, &rows)?,
            Written::Repeat => {
                append_without_repeats(&session, &mut parts, &mut answers).await?;
            }
        }
        if parts.is_empty() {
            break;
        }
        // A document that another process makes meanwhile is left for the next round.
        match write(&session, Transaction::Own, statements::CREATE_WITH_DELTAS, &parts).await? {
            Written::Rows(rows) => answers.take(&mut parts, &rows)?,
            Written::Repeat if remove_orphans(&session, &parts).await? => {}
            Written::Repeat => return Err(beyond_head(&session, &parts).await),
        }
        if parts.is_empty() {
            break;
        }
    }
    session.release();
    let appended: Option<Vec<Appended>> = answers.appended.into_iter().collect();
    let raced =
        || StoreError::unavailable(Cause::Conflict, "documents were made and deleted at once");
    appended.ok_or_else(raced)
}

/// Which transaction a statement belongs to.
#[derive(Clone, Copy)]
enum Transaction {
    /// One of its own.
    Own,
    /// The one that is open.
    Open,
}

enum Written {
    Rows(Vec<Row>),
    Repeat,
}

async fn write(
    session: &Session,
    transaction: Transaction,
    statement: Statement,
    parts: &[Part<'_>],
) -> Result<Written, StoreError> {
    let columns = Columns::new(parts)?;
    let parameters: Parameters<'_> = &[
        &columns.documents,
        &columns.added,
        &columns.delta_documents,
        &columns.places,
        &columns.ids,
        &columns.clients,
        &columns.data,
        &columns.clocks,
        &columns.timestamps,
    ];
    let rows = match transaction {
        Transaction::Own => session.rows(statement, parameters).await,
        Transaction::Open => session.rows_in_transaction(statement, parameters).await,
    };
    match rows {
        Ok(rows) => Ok(Written::Rows(rows)),
        Err(error) if is_repeat(&error) => Ok(Written::Repeat),
        Err(error) => Err(error.into()),
    }
}

/// Appends to the documents that are there what they don't have yet.
async fn append_without_repeats<'a>(
    session: &Session,
    parts: &mut Vec<Part<'a>>,
    answers: &mut Answers,
) -> Result<(), StoreError> {
    let documents: Vec<&str> = parts.iter().map(Part::document).collect();
    let wanted = parts
        .iter()
        .flat_map(|part| part.fresh.iter().map(|delta| (part.document(), delta.id.as_str())));
    let (wanted_documents, wanted_ids): (Vec<&str>, Vec<&str>) = wanted.unzip();
    let lock = session.ready(statements::LOCK).await?;
    let find = session.ready(statements::FIND_DELTAS).await?;
    let lock_parameters: Parameters<'_> = &[&documents];
    let find_parameters: Parameters<'_> = &[&wanted_documents, &wanted_ids];
    // Sent in this order without waiting for answers. The search begins after the lock is held,
    // and sees what was committed until then.
    let (begun, locked, found) = tokio::join!(
        biased;
        session.begin(),
        session.query(&lock, lock_parameters),
        session.query(&find, find_parameters),
    );
    begun?;
    let (locked, found) = (locked?, found?);

    let mut stored: HashMap<&str, HashMap<&str, Seq>> = HashMap::new();
    for row in &found {
        stored.entry(row.try_get(0)?).or_default().insert(row.try_get(1)?, seq(row, 2)?);
    }
    for part in parts.iter_mut() {
        *part = Part::new(part.at, part.append, stored.get(part.document()));
    }
    let mut is_locked = HashSet::with_capacity(locked.len());
    for row in &locked {
        is_locked.insert(row.try_get::<_, &str>(0)?);
    }
    let (there, absent): (Vec<_>, Vec<_>) =
        parts.drain(..).partition(|part| is_locked.contains(part.document()));
    let (mut fresh, mut repeats): (Vec<_>, Vec<_>) =
        there.into_iter().partition(|part: &Part<'_>| !part.fresh.is_empty());
    answers.take(&mut repeats, &locked)?;
    if !fresh.is_empty() {
        match write(session, Transaction::Open, statements::APPEND, &fresh).await? {
            Written::Rows(rows) => answers.take(&mut fresh, &rows)?,
            Written::Repeat => return Err(beyond_head(session, &fresh).await),
        }
    }
    session.commit().await?;
    parts.extend(absent);
    Ok(())
}

/// Removes deltas whose document's row somebody deleted by hand; whether there were any. They are of
/// a life that is over, and would keep the document from having another.
async fn remove_orphans(session: &Session, parts: &[Part<'_>]) -> Result<bool, StoreError> {
    let documents: Vec<&str> = parts.iter().map(Part::document).collect();
    let removed = session.execute(statements::DELETE_ORPHANS, &[&documents]).await?;
    if removed > 0 {
        tracing::warn!(
            removed,
            "deltas without a document were removed: a row of documents was deleted by hand; use \
             `synckit-server documents delete`"
        );
    }
    Ok(removed > 0)
}

/// Under the lock nothing can be stored twice, unless numbers stand above a document's head.
async fn beyond_head(session: &Session, parts: &[Part<'_>]) -> StoreError {
    let documents: Vec<&str> = parts.iter().map(Part::document).collect();
    let look = async {
        session.run("ROLLBACK").await?;
        session.rows(statements::BEYOND_HEAD, &[&documents]).await
    };
    let found = match look.await {
        Ok(rows) => rows,
        Err(error) => return error.into(),
    };
    let is_found = |part: &&Part<'_>| {
        found.iter().any(|row| row.try_get::<_, &str>(0).is_ok_and(|id| id == part.document()))
    };
    match parts.iter().find(is_found) {
        Some(part) => {
            let reason = "deltas are stored beyond its last number";
            StoreError::damaged(&part.append.document, reason)
        }
        None => StoreError::unavailable(Cause::Conflict, "documents changed under the append"),
    }
}

/// One document's part of the batch.
struct Part<'a> {
    /// Its place in the batch.
    at: usize,
    append: &'a Append,
    /// What is to be stored, in order.
    fresh: Vec<&'a Delta>,
    /// What becomes of each delta of the append.
    fates: Vec<Fate>,
}

#[derive(Clone, Copy)]
enum Fate {
    /// The n-th to be stored, counted from 1.
    Fresh(u64),
    /// The same as the n-th.
    RepeatOfFresh(u64),
    RepeatOf(Seq),
}

impl<'a> Part<'a> {
    fn new(at: usize, append: &'a Append, stored: Option<&HashMap<&str, Seq>>) -> Self {
        let mut fresh: Vec<&Delta> = Vec::with_capacity(append.deltas.len());
        let mut places = HashMap::with_capacity(append.deltas.len());
        let fates = append.deltas.iter().map(|delta| {
            if let Some(seq) = stored.and_then(|stored| stored.get(delta.id.as_str())) {
                return Fate::RepeatOf(*seq);
            }
            let next = fresh.len() as u64 + 1;
            match places.insert(&delta.id, next) {
                Some(place) => {
                    places.insert(&delta.id, place);
                    Fate::RepeatOfFresh(place)
                }
                None => {
                    fresh.push(delta);
                    Fate::Fresh(next)
                }
            }
        });
        let fates = fates.collect();
        Self { at, append, fresh, fates }
    }

    fn document(&self) -> &'a str {
        self.append.document.as_str()
    }

    fn appended(&self, epoch: Epoch, head: Seq) -> Appended {
        let before = head.0.saturating_sub(self.fresh.len() as u64);
        let deliveries = self.fates.iter().map(|fate| match fate {
            Fate::Fresh(place) => Delivery::Stored(Seq(before + place)),
            Fate::RepeatOfFresh(place) => Delivery::Repeated(Seq(before + place)),
            Fate::RepeatOf(seq) => Delivery::Repeated(*seq),
        });
        Appended { epoch, deliveries: deliveries.collect() }
    }
}

/// What is known of the batch so far.
struct Answers {
    appended: Vec<Option<Appended>>,
}

impl Answers {
    /// Moves the parts that `rows` (id, epoch, head) answer out of `parts`.
    fn take(&mut self, parts: &mut Vec<Part<'_>>, rows: &[Row]) -> Result<(), StoreError> {
        let mut heads = HashMap::with_capacity(rows.len());
        for row in rows {
            let id: &str = row.try_get(0)?;
            heads.insert(id, (Epoch(super::read::unsigned(row, 1)?), seq(row, 2)?));
        }
        parts.retain(|part| {
            let Some((epoch, head)) = heads.get(part.document()) else {
                return true;
            };
            if let Some(answer) = self.appended.get_mut(part.at) {
                *answer = Some(part.appended(*epoch, *head));
            }
            false
        });
        Ok(())
    }
}

fn seq(row: &Row, column: usize) -> Result<Seq, StoreError> {
    super::read::unsigned(row, column).map(Seq)
}

/// The parameters of the writing statements.
#[derive(Default)]
struct Columns<'a> {
    documents: Vec<&'a str>,
    added: Vec<i64>,
    delta_documents: Vec<i64>,
    places: Vec<i64>,
    ids: Vec<&'a str>,
    clients: Vec<&'a str>,
    data: Vec<JsonParameter>,
    clocks: Vec<JsonParameter>,
    timestamps: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn new(parts: &[Part<'a>]) -> Result<Self, StoreError> {
        let mut columns = Self::default();
        for (document, part) in parts.iter().enumerate() {
            let document = sql::signed(document as u64 + 1)?;
            // The last one first: the join takes its rows out in the reverse of the order in which
            // it put them in, and numbers that arrive ascending leave the key's pages full rather
            // than half empty. Sorting in the statement would do the same for more time.
            for (at, delta) in part.fresh.iter().enumerate().rev() {
                columns.delta_documents.push(document);
                columns.places.push(sql::signed(at as u64 + 1)?);
                columns.ids.push(delta.id.as_str());
                columns.clients.push(delta.client.as_str());
                columns.data.push(JsonParameter(delta.data()));
                columns.clocks.push(JsonParameter(sql::clock_json(&delta.clock())?));
                columns.timestamps.push(sql::signed(delta.timestamp)?);
            }
            columns.documents.push(part.document());
            columns.added.push(sql::signed(part.fresh.len() as u64)?);
        }
        Ok(columns)
    }
}

/// JSON text on its way to the database, which reads it once as what it is, rather than as a text
/// and then that.
#[derive(Debug)]
struct JsonParameter(String);

impl ToSql for JsonParameter {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if *ty == Type::JSONB {
            out.extend_from_slice(&[JSONB_VERSION]);
        }
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        [Type::JSON, Type::JSONB].contains(ty)
    }

    to_sql_checked!();
}

/// What a JSONB value begins with on the wire: text follows.
const JSONB_VERSION: u8 = 1;
