//! Reading everything, page by page, as a stream. Of what is read, one page is in memory at a time.

use std::collections::VecDeque;

use futures_util::stream::{self, Stream};
use synckit_engine::clock::VectorClock;
use synckit_engine::ids::DocumentId;
use synckit_engine::position::Seq;

use crate::contract::{DocumentStore, NumberedDelta, PAGE_IDS_DEFAULT};
use crate::error::StoreError;

/// What is read of a stream, and from where it goes on.
struct Pages<T, Last> {
    page: VecDeque<T>,
    /// Whether the next page is yet to be read; without it the stream ends with this one.
    goes_on: bool,
    last: Last,
}

impl<T, Last> Pages<T, Last> {
    fn after(last: Last) -> Self {
        Self { page: VecDeque::new(), goes_on: true, last }
    }
}

/// Every stored delta of a document that is not ≤ `since`, in order; without a clock: all. Deltas
/// that are appended meanwhile may come or not; of those that were there before, none is left out
/// unless compaction removes it meanwhile. A document that isn't there has none.
///
/// The first error ends the stream. To go on after it, use the clock of what was taken in, or
/// [`DocumentStore::deltas_since`] with the last number.
pub fn deltas<'a>(
    store: &'a dyn DocumentStore,
    id: &'a DocumentId,
    since: Option<VectorClock>,
) -> impl Stream<Item = Result<NumberedDelta, StoreError>> + Send + 'a {
    let start = (Pages::after(Seq(0)), since);
    stream::try_unfold(start, move |(mut pages, since)| async move {
        if pages.page.is_empty() && pages.goes_on {
            pages.page = store.deltas_since(id, since.as_ref(), pages.last).await?.into();
            // Only an empty page is the last: a short one may be one of large deltas.
            pages.goes_on = !pages.page.is_empty();
        }
        let Some(numbered) = pages.page.pop_front() else { return Ok(None) };
        pages.last = numbered.seq;
        Ok(Some((numbered, (pages, since))))
    })
}

/// The ids of all documents in their byte order. One that is made or deleted meanwhile may come or
/// not; each of the others comes once.
///
/// The first error ends the stream. To go on after it, use [`DocumentStore::document_ids`] with the
/// last id.
pub fn document_ids(
    store: &dyn DocumentStore,
) -> impl Stream<Item = Result<DocumentId, StoreError>> + Send + '_ {
    stream::try_unfold(Pages::after(None::<DocumentId>), move |mut pages| async move {
        if pages.page.is_empty() && pages.goes_on {
            let page = store.document_ids(PAGE_IDS_DEFAULT, pages.last.as_ref()).await?;
            pages.goes_on = page.len() == PAGE_IDS_DEFAULT;
            pages.page = page.into();
        }
        let Some(id) = pages.page.pop_front() else { return Ok(None) };
        pages.last = Some(id.clone());
        Ok(Some((id, pages)))
    })
}
